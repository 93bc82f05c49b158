//! The shapes of the requests that `kafka-protocol` decodes, as Kafka 4.1 describes them (`clients/src/main/resources/common/message` of
//! its sources), field by field.

use super::{BYTES, EIGHT, FOUR, ONE, SIXTEEN, Shape, TEXT, TWO, always, group, list, maybe, since, until, within};

pub(crate) const LIST_OFFSETS: Shape = &[
    always(FOUR),
    since(2, ONE),
    always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), since(4, FOUR), always(EIGHT)])))]))),
    since(10, FOUR),
];
pub(crate) const METADATA: Shape =
    &[always(list(&group(&[since(10, SIXTEEN), always(TEXT)]))), since(4, ONE), within(8, 10, ONE), since(8, ONE)];
pub(crate) const OFFSET_COMMIT: Shape = &[
    always(TEXT),
    always(FOUR),
    always(TEXT),
    since(7, TEXT),
    until(4, EIGHT),
    always(list(&group(&[
        always(TEXT),
        always(list(&group(&[always(FOUR), always(EIGHT), since(6, FOUR), always(TEXT)]))),
    ]))),
];
pub(crate) const OFFSET_FETCH: Shape = &[
    until(7, TEXT),
    until(7, list(&group(&[always(TEXT), always(list(&FOUR))]))),
    since(
        8,
        list(&group(&[
            always(TEXT),
            since(9, TEXT),
            since(9, FOUR),
            always(list(&group(&[always(TEXT), always(list(&FOUR))]))),
        ])),
    ),
    since(7, ONE),
];
pub(crate) const FIND_COORDINATOR: Shape = &[until(3, TEXT), since(1, ONE), since(4, list(&TEXT))];
pub(crate) const JOIN_GROUP: Shape = &[
    always(TEXT),
    always(FOUR),
    since(1, FOUR),
    always(TEXT),
    since(5, TEXT),
    always(TEXT),
    always(list(&group(&[always(TEXT), always(BYTES)]))),
    since(8, TEXT),
];
pub(crate) const HEARTBEAT: Shape = &[always(TEXT), always(FOUR), always(TEXT), since(3, TEXT)];
pub(crate) const LEAVE_GROUP: Shape =
    &[always(TEXT), until(2, TEXT), since(3, list(&group(&[always(TEXT), always(TEXT), since(5, TEXT)])))];
pub(crate) const SYNC_GROUP: Shape = &[
    always(TEXT),
    always(FOUR),
    always(TEXT),
    since(3, TEXT),
    since(5, TEXT),
    since(5, TEXT),
    always(list(&group(&[always(TEXT), always(BYTES)]))),
];
pub(crate) const DESCRIBE_GROUPS: Shape = &[always(list(&TEXT)), since(3, ONE)];
pub(crate) const LIST_GROUPS: Shape = &[since(4, list(&TEXT)), since(5, list(&TEXT))];
pub(crate) const SASL_HANDSHAKE: Shape = &[always(TEXT)];
pub(crate) const API_VERSIONS: Shape = &[since(3, TEXT), since(3, TEXT)];
pub(crate) const CREATE_TOPICS: Shape = &[
    always(list(&group(&[
        always(TEXT),
        always(FOUR),
        always(TWO),
        always(list(&group(&[always(FOUR), always(list(&FOUR))]))),
        always(list(&group(&[always(TEXT), always(TEXT)]))),
    ]))),
    always(FOUR),
    always(ONE),
];
pub(crate) const DELETE_TOPICS: Shape =
    &[since(6, list(&group(&[always(TEXT), always(SIXTEEN)]))), until(5, list(&TEXT)), always(FOUR)];
pub(crate) const DELETE_RECORDS: Shape =
    &[always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(EIGHT)])))]))), always(FOUR)];
pub(crate) const INIT_PRODUCER_ID: Shape = &[always(TEXT), always(FOUR), since(3, EIGHT), since(3, TWO)];
pub(crate) const OFFSET_FOR_LEADER_EPOCH: Shape = &[
    since(3, FOUR),
    always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(FOUR), always(FOUR)])))]))),
];
pub(crate) const ADD_PARTITIONS_TO_TXN: Shape = &[
    since(
        4,
        list(&group(&[
            always(TEXT),
            always(EIGHT),
            always(TWO),
            always(ONE),
            always(list(&group(&[always(TEXT), always(list(&FOUR))]))),
        ])),
    ),
    until(3, TEXT),
    until(3, EIGHT),
    until(3, TWO),
    until(3, list(&group(&[always(TEXT), always(list(&FOUR))]))),
];
pub(crate) const ADD_OFFSETS_TO_TXN: Shape = &[always(TEXT), always(EIGHT), always(TWO), always(TEXT)];
pub(crate) const END_TXN: Shape = &[always(TEXT), always(EIGHT), always(TWO), always(ONE)];
pub(crate) const TXN_OFFSET_COMMIT: Shape = &[
    always(TEXT),
    always(TEXT),
    always(EIGHT),
    always(TWO),
    since(3, FOUR),
    since(3, TEXT),
    since(3, TEXT),
    always(list(&group(&[
        always(TEXT),
        always(list(&group(&[always(FOUR), always(EIGHT), since(2, FOUR), always(TEXT)]))),
    ]))),
];
pub(crate) const DESCRIBE_ACLS: Shape =
    &[always(ONE), always(TEXT), always(ONE), always(TEXT), always(TEXT), always(ONE), always(ONE)];
pub(crate) const CREATE_ACLS: Shape = &[always(list(&group(&[
    always(ONE),
    always(TEXT),
    always(ONE),
    always(TEXT),
    always(TEXT),
    always(ONE),
    always(ONE),
])))];
pub(crate) const DELETE_ACLS: Shape = &[always(list(&group(&[
    always(ONE),
    always(TEXT),
    always(ONE),
    always(TEXT),
    always(TEXT),
    always(ONE),
    always(ONE),
])))];
pub(crate) const DESCRIBE_CONFIGS: Shape =
    &[always(list(&group(&[always(ONE), always(TEXT), always(list(&TEXT))]))), always(ONE), since(3, ONE)];
pub(crate) const ALTER_CONFIGS: Shape = &[
    always(list(&group(&[always(ONE), always(TEXT), always(list(&group(&[always(TEXT), always(TEXT)])))]))),
    always(ONE),
];
pub(crate) const DESCRIBE_LOG_DIRS: Shape = &[always(list(&group(&[always(TEXT), always(list(&FOUR))])))];
pub(crate) const SASL_AUTHENTICATE: Shape = &[always(BYTES)];
pub(crate) const CREATE_PARTITIONS: Shape = &[
    always(list(&group(&[always(TEXT), always(FOUR), always(list(&group(&[always(list(&FOUR))])))]))),
    always(FOUR),
    always(ONE),
];
pub(crate) const DELETE_GROUPS: Shape = &[always(list(&TEXT))];
pub(crate) const ELECT_LEADERS: Shape =
    &[since(1, ONE), always(list(&group(&[always(TEXT), always(list(&FOUR))]))), always(FOUR)];
pub(crate) const INCREMENTAL_ALTER_CONFIGS: Shape = &[
    always(list(&group(&[
        always(ONE),
        always(TEXT),
        always(list(&group(&[always(TEXT), always(ONE), always(TEXT)]))),
    ]))),
    always(ONE),
];
pub(crate) const ALTER_PARTITION_REASSIGNMENTS: Shape = &[
    always(FOUR),
    since(1, ONE),
    always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(list(&FOUR))])))]))),
];
pub(crate) const LIST_PARTITION_REASSIGNMENTS: Shape =
    &[always(FOUR), always(list(&group(&[always(TEXT), always(list(&FOUR))])))];
pub(crate) const OFFSET_DELETE: Shape =
    &[always(TEXT), always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR)])))])))];
pub(crate) const DESCRIBE_CLIENT_QUOTAS: Shape =
    &[always(list(&group(&[always(TEXT), always(ONE), always(TEXT)]))), always(ONE)];
pub(crate) const ALTER_CLIENT_QUOTAS: Shape = &[
    always(list(&group(&[
        always(list(&group(&[always(TEXT), always(TEXT)]))),
        always(list(&group(&[always(TEXT), always(EIGHT), always(ONE)]))),
    ]))),
    always(ONE),
];
pub(crate) const DESCRIBE_USER_SCRAM_CREDENTIALS: Shape = &[always(list(&group(&[always(TEXT)])))];
pub(crate) const ALTER_USER_SCRAM_CREDENTIALS: Shape = &[
    always(list(&group(&[always(TEXT), always(ONE)]))),
    always(list(&group(&[always(TEXT), always(ONE), always(FOUR), always(BYTES), always(BYTES)]))),
];
pub(crate) const DESCRIBE_CLUSTER: Shape = &[always(ONE), since(1, ONE), since(2, ONE)];
pub(crate) const DESCRIBE_PRODUCERS: Shape = &[always(list(&group(&[always(TEXT), always(list(&FOUR))])))];
pub(crate) const DESCRIBE_TRANSACTIONS: Shape = &[always(list(&TEXT))];
pub(crate) const LIST_TRANSACTIONS: Shape =
    &[always(list(&TEXT)), always(list(&EIGHT)), since(1, EIGHT), since(2, TEXT)];
pub(crate) const CONSUMER_GROUP_HEARTBEAT: Shape = &[
    always(TEXT),
    always(TEXT),
    always(FOUR),
    always(TEXT),
    always(TEXT),
    always(FOUR),
    always(list(&TEXT)),
    since(1, TEXT),
    always(TEXT),
    always(list(&group(&[always(SIXTEEN), always(list(&FOUR))]))),
];
pub(crate) const CONSUMER_GROUP_DESCRIBE: Shape = &[always(list(&TEXT)), always(ONE)];
pub(crate) const GET_TELEMETRY_SUBSCRIPTIONS: Shape = &[always(SIXTEEN)];
pub(crate) const PUSH_TELEMETRY: Shape = &[always(SIXTEEN), always(FOUR), always(ONE), always(ONE), always(BYTES)];
pub(crate) const LIST_CONFIG_RESOURCES: Shape = &[since(1, list(&ONE))];
pub(crate) const DESCRIBE_TOPIC_PARTITIONS: Shape =
    &[always(list(&group(&[always(TEXT)]))), always(FOUR), always(maybe(&[always(TEXT), always(FOUR)]))];
pub(crate) const SHARE_GROUP_HEARTBEAT: Shape =
    &[always(TEXT), always(TEXT), always(FOUR), always(TEXT), always(list(&TEXT))];
pub(crate) const SHARE_GROUP_DESCRIBE: Shape = &[always(list(&TEXT)), always(ONE)];
pub(crate) const SHARE_FETCH: Shape = &[
    always(TEXT),
    always(TEXT),
    always(FOUR),
    always(FOUR),
    always(FOUR),
    always(FOUR),
    always(FOUR),
    always(FOUR),
    always(list(&group(&[
        always(SIXTEEN),
        always(list(&group(&[
            always(FOUR),
            always(list(&group(&[always(EIGHT), always(EIGHT), always(list(&ONE))]))),
        ]))),
    ]))),
    always(list(&group(&[always(SIXTEEN), always(list(&FOUR))]))),
];
pub(crate) const SHARE_ACKNOWLEDGE: Shape = &[
    always(TEXT),
    always(TEXT),
    always(FOUR),
    always(list(&group(&[
        always(SIXTEEN),
        always(list(&group(&[
            always(FOUR),
            always(list(&group(&[always(EIGHT), always(EIGHT), always(list(&ONE))]))),
        ]))),
    ]))),
];
pub(crate) const DESCRIBE_SHARE_GROUP_OFFSETS: Shape =
    &[always(list(&group(&[always(TEXT), always(list(&group(&[always(TEXT), always(list(&FOUR))])))])))];
pub(crate) const ALTER_SHARE_GROUP_OFFSETS: Shape =
    &[always(TEXT), always(list(&group(&[always(TEXT), always(list(&group(&[always(FOUR), always(EIGHT)])))])))];
pub(crate) const DELETE_SHARE_GROUP_OFFSETS: Shape = &[always(TEXT), always(list(&group(&[always(TEXT)])))];
