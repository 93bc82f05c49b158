//! Answers that producers, consumers and their groups get, and those to topics being made: numbers below 29.

use crate::apis::Api;
use crate::shape::{BYTES, EIGHT, FOUR, ONE, SIXTEEN, Shape, TEXT, TWO, always, group, list, since, until, within};

pub(super) const SHAPES: &[(Api, Shape)] = &[
    (
        Api::ListOffsets,
        &[
            since(2, FOUR),
            always(list(&group(&[
                always(TEXT),
                always(list(&group(&[always(FOUR), always(TWO), always(EIGHT), always(EIGHT), since(4, FOUR)]))),
            ]))),
        ],
    ),
    (
        Api::Metadata,
        &[
            since(3, FOUR),
            always(list(&group(&[always(FOUR), always(TEXT), always(FOUR), since(1, TEXT)]))),
            since(2, TEXT),
            since(1, FOUR),
            always(list(&group(&[
                always(TWO),
                always(TEXT),
                since(10, SIXTEEN),
                since(1, ONE),
                always(list(&group(&[
                    always(TWO),
                    always(FOUR),
                    always(FOUR),
                    since(7, FOUR),
                    always(list(&FOUR)),
                    always(list(&FOUR)),
                    since(5, list(&FOUR)),
                ]))),
                since(8, FOUR),
            ]))),
            within(8, 10, FOUR),
            since(13, TWO),
        ],
    ),
    (
        Api::OffsetCommit,
        &[since(3, FOUR), always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(TWO)])))])))],
    ),
    (
        Api::OffsetFetch,
        &[
            since(3, FOUR),
            until(
                7,
                list(&group(&[
                    always(TEXT),
                    always(list(&group(&[always(FOUR), always(EIGHT), since(5, FOUR), always(TEXT), always(TWO)]))),
                ])),
            ),
            within(2, 7, TWO),
            since(
                8,
                list(&group(&[
                    always(TEXT),
                    always(list(&group(&[
                        always(TEXT),
                        always(list(&group(&[always(FOUR), always(EIGHT), always(FOUR), always(TEXT), always(TWO)]))),
                    ]))),
                    always(TWO),
                ])),
            ),
        ],
    ),
    (
        Api::FindCoordinator,
        &[
            since(1, FOUR),
            until(3, TWO),
            within(1, 3, TEXT),
            until(3, FOUR),
            until(3, TEXT),
            until(3, FOUR),
            since(
                4,
                list(&group(&[always(TEXT), always(FOUR), always(TEXT), always(FOUR), always(TWO), always(TEXT)])),
            ),
        ],
    ),
    (
        Api::JoinGroup,
        &[
            since(2, FOUR),
            always(TWO),
            always(FOUR),
            since(7, TEXT),
            always(TEXT),
            always(TEXT),
            since(9, ONE),
            always(TEXT),
            always(list(&group(&[always(TEXT), since(5, TEXT), always(BYTES)]))),
        ],
    ),
    (Api::Heartbeat, &[since(1, FOUR), always(TWO)]),
    (
        Api::LeaveGroup,
        &[since(1, FOUR), always(TWO), since(3, list(&group(&[always(TEXT), always(TEXT), always(TWO)])))],
    ),
    (Api::SyncGroup, &[since(1, FOUR), always(TWO), since(5, TEXT), since(5, TEXT), always(BYTES)]),
    (
        Api::DescribeGroups,
        &[
            since(1, FOUR),
            always(list(&group(&[
                always(TWO),
                since(6, TEXT),
                always(TEXT),
                always(TEXT),
                always(TEXT),
                always(TEXT),
                always(list(&group(&[
                    always(TEXT),
                    since(4, TEXT),
                    always(TEXT),
                    always(TEXT),
                    always(BYTES),
                    always(BYTES),
                ]))),
                since(3, FOUR),
            ]))),
        ],
    ),
    (
        Api::ListGroups,
        &[
            since(1, FOUR),
            always(TWO),
            always(list(&group(&[always(TEXT), always(TEXT), since(4, TEXT), since(5, TEXT)]))),
        ],
    ),
    (Api::SaslHandshake, &[always(TWO), always(list(&TEXT))]),
    (Api::ApiVersions, &[always(TWO), always(list(&group(&[always(TWO), always(TWO), always(TWO)]))), since(1, FOUR)]),
    (
        Api::CreateTopics,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TEXT),
                since(7, SIXTEEN),
                always(TWO),
                always(TEXT),
                since(5, FOUR),
                since(5, TWO),
                since(5, list(&group(&[always(TEXT), always(TEXT), always(ONE), always(ONE), always(ONE)]))),
            ]))),
        ],
    ),
    (
        Api::DeleteTopics,
        &[always(FOUR), always(list(&group(&[always(TEXT), since(6, SIXTEEN), always(TWO), since(5, TEXT)])))],
    ),
    (
        Api::DeleteRecords,
        &[
            always(FOUR),
            always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(EIGHT), always(TWO)])))]))),
        ],
    ),
    (Api::InitProducerId, &[always(FOUR), always(TWO), always(EIGHT), always(TWO)]),
    (
        Api::OffsetForLeaderEpoch,
        &[
            always(FOUR),
            always(list(&group(&[
                always(TEXT),
                always(list(&group(&[always(TWO), always(FOUR), always(FOUR), always(EIGHT)]))),
            ]))),
        ],
    ),
    (
        Api::AddPartitionsToTxn,
        &[
            always(FOUR),
            since(4, TWO),
            since(
                4,
                list(&group(&[
                    always(TEXT),
                    always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(TWO)])))]))),
                ])),
            ),
            until(3, list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(TWO)])))]))),
        ],
    ),
    (Api::AddOffsetsToTxn, &[always(FOUR), always(TWO)]),
    (Api::EndTxn, &[always(FOUR), always(TWO), since(5, EIGHT), since(5, TWO)]),
    (
        Api::TxnOffsetCommit,
        &[always(FOUR), always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(TWO)])))])))],
    ),
];
