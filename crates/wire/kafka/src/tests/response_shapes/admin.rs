//! Answers that administrators get, and groups of the newer protocols: numbers from 29 on.

use crate::apis::Api;
use crate::shape::{BYTES, EIGHT, FOUR, ONE, SIXTEEN, Shape, TEXT, TWO, always, group, list, maybe, since};

pub(super) const SHAPES: &[(Api, Shape)] = &[
    (
        Api::DescribeAcls,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(list(&group(&[
                always(ONE),
                always(TEXT),
                always(ONE),
                always(list(&group(&[always(TEXT), always(TEXT), always(ONE), always(ONE)]))),
            ]))),
        ],
    ),
    (Api::CreateAcls, &[always(FOUR), always(list(&group(&[always(TWO), always(TEXT)])))]),
    (
        Api::DeleteAcls,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                always(list(&group(&[
                    always(TWO),
                    always(TEXT),
                    always(ONE),
                    always(TEXT),
                    always(ONE),
                    always(TEXT),
                    always(TEXT),
                    always(ONE),
                    always(ONE),
                ]))),
            ]))),
        ],
    ),
    (
        Api::DescribeConfigs,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                always(ONE),
                always(TEXT),
                always(list(&group(&[
                    always(TEXT),
                    always(TEXT),
                    always(ONE),
                    always(ONE),
                    always(ONE),
                    always(list(&group(&[always(TEXT), always(TEXT), always(ONE)]))),
                    since(3, ONE),
                    since(3, TEXT),
                ]))),
            ]))),
        ],
    ),
    (Api::AlterConfigs, &[always(FOUR), always(list(&group(&[always(TWO), always(TEXT), always(ONE), always(TEXT)])))]),
    (
        Api::DescribeLogDirs,
        &[
            always(FOUR),
            since(3, TWO),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                always(list(&group(&[
                    always(TEXT),
                    always(list(&group(&[always(FOUR), always(EIGHT), always(EIGHT), always(ONE)]))),
                ]))),
                since(4, EIGHT),
                since(4, EIGHT),
            ]))),
        ],
    ),
    (Api::SaslAuthenticate, &[always(TWO), always(TEXT), always(BYTES), since(1, EIGHT)]),
    (Api::CreatePartitions, &[always(FOUR), always(list(&group(&[always(TEXT), always(TWO), always(TEXT)])))]),
    (Api::DeleteGroups, &[always(FOUR), always(list(&group(&[always(TEXT), always(TWO)])))]),
    (
        Api::ElectLeaders,
        &[
            always(FOUR),
            since(1, TWO),
            always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(TWO), always(TEXT)])))]))),
        ],
    ),
    (
        Api::IncrementalAlterConfigs,
        &[always(FOUR), always(list(&group(&[always(TWO), always(TEXT), always(ONE), always(TEXT)])))],
    ),
    (
        Api::AlterPartitionReassignments,
        &[
            always(FOUR),
            since(1, ONE),
            always(TWO),
            always(TEXT),
            always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(TWO), always(TEXT)])))]))),
        ],
    ),
    (
        Api::ListPartitionReassignments,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(list(&group(&[
                always(TEXT),
                always(list(&group(&[always(FOUR), always(list(&FOUR)), always(list(&FOUR)), always(list(&FOUR))]))),
            ]))),
        ],
    ),
    (
        Api::OffsetDelete,
        &[
            always(TWO),
            always(FOUR),
            always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(TWO)])))]))),
        ],
    ),
    (
        Api::DescribeClientQuotas,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(list(&group(&[
                always(list(&group(&[always(TEXT), always(TEXT)]))),
                always(list(&group(&[always(TEXT), always(EIGHT)]))),
            ]))),
        ],
    ),
    (
        Api::AlterClientQuotas,
        &[
            always(FOUR),
            always(list(&group(&[always(TWO), always(TEXT), always(list(&group(&[always(TEXT), always(TEXT)])))]))),
        ],
    ),
    (
        Api::DescribeUserScramCredentials,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(list(&group(&[
                always(TEXT),
                always(TWO),
                always(TEXT),
                always(list(&group(&[always(ONE), always(FOUR)]))),
            ]))),
        ],
    ),
    (Api::AlterUserScramCredentials, &[always(FOUR), always(list(&group(&[always(TEXT), always(TWO), always(TEXT)])))]),
    (
        Api::DescribeCluster,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            since(1, ONE),
            always(TEXT),
            always(FOUR),
            always(list(&group(&[always(FOUR), always(TEXT), always(FOUR), always(TEXT), since(2, ONE)]))),
            always(FOUR),
        ],
    ),
    (
        Api::DescribeProducers,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TEXT),
                always(list(&group(&[
                    always(FOUR),
                    always(TWO),
                    always(TEXT),
                    always(list(&group(&[
                        always(EIGHT),
                        always(FOUR),
                        always(FOUR),
                        always(EIGHT),
                        always(FOUR),
                        always(EIGHT),
                    ]))),
                ]))),
            ]))),
        ],
    ),
    (
        Api::DescribeTransactions,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                always(TEXT),
                always(FOUR),
                always(EIGHT),
                always(EIGHT),
                always(TWO),
                always(list(&group(&[always(TEXT), always(list(&FOUR))]))),
            ]))),
        ],
    ),
    (
        Api::ListTransactions,
        &[
            always(FOUR),
            always(TWO),
            always(list(&TEXT)),
            always(list(&group(&[always(TEXT), always(EIGHT), always(TEXT)]))),
        ],
    ),
    (
        Api::ConsumerGroupHeartbeat,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(TEXT),
            always(FOUR),
            always(FOUR),
            always(maybe(&[always(list(&group(&[always(SIXTEEN), always(list(&FOUR))])))])),
        ],
    ),
    (
        Api::ConsumerGroupDescribe,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                always(TEXT),
                always(TEXT),
                always(FOUR),
                always(FOUR),
                always(TEXT),
                always(list(&group(&[
                    always(TEXT),
                    always(TEXT),
                    always(TEXT),
                    always(FOUR),
                    always(TEXT),
                    always(TEXT),
                    always(list(&TEXT)),
                    always(TEXT),
                    always(group(&[always(list(&group(&[always(SIXTEEN), always(TEXT), always(list(&FOUR))])))])),
                    always(group(&[always(list(&group(&[always(SIXTEEN), always(TEXT), always(list(&FOUR))])))])),
                    since(1, ONE),
                ]))),
                always(FOUR),
            ]))),
        ],
    ),
    (
        Api::GetTelemetrySubscriptions,
        &[
            always(FOUR),
            always(TWO),
            always(SIXTEEN),
            always(FOUR),
            always(list(&ONE)),
            always(FOUR),
            always(FOUR),
            always(ONE),
            always(list(&TEXT)),
        ],
    ),
    (Api::PushTelemetry, &[always(FOUR), always(TWO)]),
    (Api::ListConfigResources, &[always(FOUR), always(TWO), always(list(&group(&[always(TEXT), since(1, ONE)])))]),
    (
        Api::DescribeTopicPartitions,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                always(SIXTEEN),
                always(ONE),
                always(list(&group(&[
                    always(TWO),
                    always(FOUR),
                    always(FOUR),
                    always(FOUR),
                    always(list(&FOUR)),
                    always(list(&FOUR)),
                    always(list(&FOUR)),
                    always(list(&FOUR)),
                    always(list(&FOUR)),
                ]))),
                always(FOUR),
            ]))),
            always(maybe(&[always(TEXT), always(FOUR)])),
        ],
    ),
    (
        Api::ShareGroupHeartbeat,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(TEXT),
            always(FOUR),
            always(FOUR),
            always(maybe(&[always(list(&group(&[always(SIXTEEN), always(list(&FOUR))])))])),
        ],
    ),
    (
        Api::ShareGroupDescribe,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                always(TEXT),
                always(TEXT),
                always(FOUR),
                always(FOUR),
                always(TEXT),
                always(list(&group(&[
                    always(TEXT),
                    always(TEXT),
                    always(FOUR),
                    always(TEXT),
                    always(TEXT),
                    always(list(&TEXT)),
                    always(group(&[always(list(&group(&[always(SIXTEEN), always(TEXT), always(list(&FOUR))])))])),
                ]))),
                always(FOUR),
            ]))),
        ],
    ),
    (
        Api::ShareFetch,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(FOUR),
            always(list(&group(&[
                always(SIXTEEN),
                always(list(&group(&[
                    always(FOUR),
                    always(TWO),
                    always(TEXT),
                    always(TWO),
                    always(TEXT),
                    always(group(&[always(FOUR), always(FOUR)])),
                    always(BYTES),
                    always(list(&group(&[always(EIGHT), always(EIGHT), always(TWO)]))),
                ]))),
            ]))),
            always(list(&group(&[always(FOUR), always(TEXT), always(FOUR), always(TEXT)]))),
        ],
    ),
    (
        Api::ShareAcknowledge,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(list(&group(&[
                always(SIXTEEN),
                always(list(&group(&[
                    always(FOUR),
                    always(TWO),
                    always(TEXT),
                    always(group(&[always(FOUR), always(FOUR)])),
                ]))),
            ]))),
            always(list(&group(&[always(FOUR), always(TEXT), always(FOUR), always(TEXT)]))),
        ],
    ),
    (
        Api::DescribeShareGroupOffsets,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TEXT),
                always(list(&group(&[
                    always(TEXT),
                    always(SIXTEEN),
                    always(list(&group(&[always(FOUR), always(EIGHT), always(FOUR), always(TWO), always(TEXT)]))),
                ]))),
                always(TWO),
                always(TEXT),
            ]))),
        ],
    ),
    (
        Api::AlterShareGroupOffsets,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(list(&group(&[
                always(TEXT),
                always(SIXTEEN),
                always(list(&group(&[always(FOUR), always(TWO), always(TEXT)]))),
            ]))),
        ],
    ),
    (
        Api::DeleteShareGroupOffsets,
        &[
            always(FOUR),
            always(TWO),
            always(TEXT),
            always(list(&group(&[always(TEXT), always(SIXTEEN), always(TWO), always(TEXT)]))),
        ],
    ),
];
