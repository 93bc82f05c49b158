//! Random messages, types and values. Messages are made for a version: they hold nothing that it cannot express.

use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use holon_cql::request::{
    AuthResponse, Batch, BatchKind, BatchQuery, BatchStatement, EventType, Execute, Options, Prepare, Query,
    QueryParameters, Register, Startup, Values,
};
use holon_cql::response::{
    AuthChallenge, AuthSuccess, Authenticate, ErrorBody, ErrorResponse, Event, Failures, Prepared, PreparedMetadata,
    ResultResponse, SchemaChange, SchemaChangeKind, SchemaTarget, StatusChange, Supported, TopologyChange, WriteType,
};
use holon_cql::{
    BoundValue, ColumnSpec, Consistency, CqlType, ErrorCode, Request, RequestMessage, Response, ResponseMessage, Rows,
    RowsMetadata, UdtField, Version,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

/// So many cases, and the same ones each time.
pub fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(0xC01), failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

pub fn version() -> BoxedStrategy<Version> {
    select(Version::EVERY.to_vec()).boxed()
}

fn name() -> BoxedStrategy<String> {
    "[a-zé_]{0,6}".boxed()
}

pub fn small_bytes() -> BoxedStrategy<Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from).boxed()
}

fn consistency() -> BoxedStrategy<Consistency> {
    select(Consistency::EVERY.to_vec()).boxed()
}

fn serial() -> BoxedStrategy<Option<Consistency>> {
    option::of(select(vec![Consistency::Serial, Consistency::LocalSerial])).boxed()
}

/// Something in v5, nothing before.
fn since_v5<T: std::fmt::Debug + Clone + 'static>(
    version: Version,
    strategy: BoxedStrategy<T>,
) -> BoxedStrategy<Option<T>> {
    if version >= Version::V5 { option::of(strategy).boxed() } else { Just(None).boxed() }
}

fn bound_value(version: Version) -> BoxedStrategy<BoundValue> {
    let value = small_bytes().prop_map(BoundValue::Value);
    if version >= Version::V4 {
        prop_oneof![4 => value, 1 => Just(BoundValue::Null), 1 => Just(BoundValue::Unset)].boxed()
    } else {
        prop_oneof![4 => value, 1 => Just(BoundValue::Null)].boxed()
    }
}

fn values(version: Version) -> BoxedStrategy<Values> {
    // No empty named values: without values there is no flag that says how they are given.
    let named = vec((name(), bound_value(version)), 1..4).prop_map(Values::Named);
    prop_oneof![vec(bound_value(version), 0..6).prop_map(Values::Positional), named].boxed()
}

fn parameters(version: Version) -> BoxedStrategy<QueryParameters> {
    let first = (consistency(), values(version), any::<bool>(), option::of(any::<i32>()), option::of(small_bytes()));
    let timestamp = option::of((i64::MIN + 1)..=i64::MAX);
    let second = (serial(), timestamp, since_v5(version, name()), since_v5(version, any::<i32>().boxed()));
    (first, second)
        .prop_map(|((consistency, values, skip_metadata, page_size, paging_state), second)| {
            let (serial_consistency, timestamp_us, keyspace, now_in_seconds) = second;
            QueryParameters {
                consistency,
                values,
                skip_metadata,
                page_size,
                paging_state,
                serial_consistency,
                timestamp_us,
                keyspace,
                now_in_seconds,
            }
        })
        .boxed()
}

fn batch(version: Version) -> BoxedStrategy<Batch> {
    let statement =
        prop_oneof![name().prop_map(BatchStatement::Text), small_bytes().prop_map(BatchStatement::Prepared)];
    let query =
        (statement, vec(bound_value(version), 0..4)).prop_map(|(statement, values)| BatchQuery { statement, values });
    let kind = select(vec![BatchKind::Logged, BatchKind::Unlogged, BatchKind::Counter]);
    let timestamp = option::of((i64::MIN + 1)..=i64::MAX);
    let now = since_v5(version, any::<i32>().boxed());
    (kind, vec(query, 0..4), consistency(), serial(), timestamp, since_v5(version, name()), now)
        .prop_map(|(kind, queries, consistency, serial_consistency, timestamp_us, keyspace, now_in_seconds)| Batch {
            kind,
            queries,
            consistency,
            serial_consistency,
            timestamp_us,
            keyspace,
            now_in_seconds,
        })
        .boxed()
}

fn event_type() -> BoxedStrategy<EventType> {
    select(vec![EventType::TopologyChange, EventType::StatusChange, EventType::SchemaChange]).boxed()
}

pub fn request(version: Version) -> BoxedStrategy<Request> {
    let result_metadata_id =
        if version >= Version::V5 { small_bytes().prop_map(Some).boxed() } else { Just(None).boxed() };
    prop_oneof![
        btree_map("[A-Z_]{1,8}", name(), 0..4).prop_map(|options| Request::Startup(Startup { options })),
        option::of(small_bytes()).prop_map(|token| Request::AuthResponse(AuthResponse { token })),
        Just(Request::Options(Options)),
        (name(), parameters(version))
            .prop_map(|(statement, parameters)| Request::Query(Query { statement, parameters })),
        (name(), since_v5(version, name()))
            .prop_map(|(statement, keyspace)| Request::Prepare(Prepare { statement, keyspace })),
        (small_bytes(), result_metadata_id, parameters(version)).prop_map(|(id, result_metadata_id, parameters)| {
            Request::Execute(Execute { id, result_metadata_id, parameters })
        }),
        batch(version).prop_map(Request::Batch),
        vec(event_type(), 0..4).prop_map(|events| Request::Register(Register { events })),
    ]
    .boxed()
}

pub fn request_message(version: Version) -> BoxedStrategy<RequestMessage> {
    let payloads = if version >= Version::V4 { 0..3 } else { 0..1 };
    let custom_payload = btree_map(name(), option::of(small_bytes()), payloads);
    (any::<i16>(), any::<bool>(), custom_payload, request(version))
        .prop_map(|(stream, tracing, custom_payload, request)| RequestMessage {
            stream,
            tracing,
            custom_payload,
            request,
        })
        .boxed()
}

/// A type with at most three levels above scalars, without `frozen`.
pub fn cql_type() -> BoxedStrategy<CqlType> {
    let scalars: Vec<CqlType> = CqlType::SCALARS.into_iter().map(|(scalar, _)| scalar).collect();
    let leaf = prop_oneof![8 => select(scalars), 1 => Just(CqlType::Custom("com.example.Type".into()))];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let field = ("[a-z]{1,5}", inner.clone()).prop_map(|(name, cql_type)| UdtField { name, cql_type });
        prop_oneof![
            inner.clone().prop_map(CqlType::list),
            inner.clone().prop_map(CqlType::set),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| CqlType::map(key, value)),
            vec(inner.clone(), 1..4).prop_map(CqlType::tuple),
            ("[a-z]{1,5}", vec(field, 0..4)).prop_map(|(name, fields)| CqlType::udt("ks", name, fields)),
            (inner, 1..4u32).prop_map(|(element, dimensions)| CqlType::vector(element, dimensions)),
        ]
    })
    .boxed()
}

fn columns() -> BoxedStrategy<Vec<ColumnSpec>> {
    let column = ("[ab]", "[tu]", name(), cql_type()).prop_map(|(keyspace, table, name, cql_type)| ColumnSpec {
        keyspace: keyspace.as_str().into(),
        table: table.as_str().into(),
        name: name.as_str().into(),
        cql_type,
    });
    vec(column, 0..4).boxed()
}

fn metadata(version: Version) -> BoxedStrategy<RowsMetadata> {
    let with_columns = (columns(), option::of(small_bytes()), since_v5(version, small_bytes())).prop_map(
        |(columns, paging_state, new_metadata_id)| RowsMetadata {
            paging_state,
            new_metadata_id: new_metadata_id.filter(|_| !columns.is_empty()),
            ..RowsMetadata::new(columns)
        },
    );
    let without = (0..4usize, option::of(small_bytes()))
        .prop_map(|(count, paging_state)| RowsMetadata { paging_state, ..RowsMetadata::skipped(count) });
    prop_oneof![3 => with_columns, 1 => without].boxed()
}

pub fn rows(version: Version) -> BoxedStrategy<Rows> {
    metadata(version)
        .prop_flat_map(|metadata| {
            let count = metadata.column_count;
            let row = vec(option::of(small_bytes()), count..=count);
            (Just(metadata), vec(row, if count == 0 { 0..1 } else { 0..5 }))
        })
        .prop_map(|(metadata, rows)| Rows { metadata, rows })
        .boxed()
}

fn schema_change(version: Version) -> BoxedStrategy<SchemaChange> {
    let kind = select(vec![SchemaChangeKind::Created, SchemaChangeKind::Updated, SchemaChangeKind::Dropped]);
    let plain = prop_oneof![
        Just(SchemaTarget::Keyspace),
        name().prop_map(|name| SchemaTarget::Table { name }),
        name().prop_map(|name| SchemaTarget::Type { name }),
    ];
    let target = if version >= Version::V4 {
        let function = (name(), vec(name(), 0..3));
        let aggregate = (name(), vec(name(), 0..3));
        prop_oneof![
            plain,
            function.prop_map(|(name, arguments)| SchemaTarget::Function { name, arguments }),
            aggregate.prop_map(|(name, arguments)| SchemaTarget::Aggregate { name, arguments }),
        ]
        .boxed()
    } else {
        plain.boxed()
    };
    (kind, name(), target).prop_map(|(kind, keyspace, target)| SchemaChange { kind, keyspace, target }).boxed()
}

fn event(version: Version) -> BoxedStrategy<Event> {
    let topology = select(vec![TopologyChange::NewNode, TopologyChange::RemovedNode]);
    let status = select(vec![StatusChange::Up, StatusChange::Down]);
    let node = || (any::<IpAddr>(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address, port));
    prop_oneof![
        (topology, node()).prop_map(|(change, node)| Event::Topology { change, node }),
        (status, node()).prop_map(|(change, node)| Event::Status { change, node }),
        schema_change(version).prop_map(Event::Schema),
    ]
    .boxed()
}

fn failures(version: Version) -> BoxedStrategy<Failures> {
    if version >= Version::V5 {
        vec((any::<IpAddr>(), any::<u16>()), 0..4).prop_map(Failures::Reasons).boxed()
    } else {
        any::<i32>().prop_map(Failures::Count).boxed()
    }
}

fn plain_code() -> BoxedStrategy<ErrorCode> {
    select(vec![
        ErrorCode::Server,
        ErrorCode::Protocol,
        ErrorCode::Authentication,
        ErrorCode::Overloaded,
        ErrorCode::IsBootstrapping,
        ErrorCode::Truncate,
        ErrorCode::Syntax,
        ErrorCode::Unauthorized,
        ErrorCode::Invalid,
        ErrorCode::Config,
    ])
    .boxed()
}

fn error_body(version: Version) -> BoxedStrategy<ErrorBody> {
    let counts = || (consistency(), any::<i32>(), any::<i32>());
    let write_type = || select(WriteType::EVERY.to_vec());
    let oldest = prop_oneof![
        plain_code().prop_map(ErrorBody::Plain),
        counts().prop_map(|(consistency, required, alive)| ErrorBody::Unavailable { consistency, required, alive }),
        (counts(), write_type(), any::<u16>()).prop_map(move |(counts, write_type, contentions)| {
            let (consistency, received, required) = counts;
            let counted = version >= Version::V5 && write_type == WriteType::Cas;
            let contentions = counted.then_some(contentions);
            ErrorBody::WriteTimeout { consistency, received, required, write_type, contentions }
        }),
        (counts(), any::<bool>()).prop_map(|((consistency, received, required), data_present)| {
            ErrorBody::ReadTimeout { consistency, received, required, data_present }
        }),
        (name(), name()).prop_map(|(keyspace, table)| ErrorBody::AlreadyExists { keyspace, table }),
        small_bytes().prop_map(|id| ErrorBody::Unprepared { id }),
    ];
    if version < Version::V4 {
        return oldest.boxed();
    }
    let younger = prop_oneof![
        Just(ErrorBody::Plain(ErrorCode::CdcWriteFailure)),
        (counts(), failures(version), any::<bool>()).prop_map(|(counts, failures, data_present)| {
            let (consistency, received, required) = counts;
            ErrorBody::ReadFailure { consistency, received, required, failures, data_present }
        }),
        (counts(), failures(version), write_type()).prop_map(|(counts, failures, write_type)| {
            let (consistency, received, required) = counts;
            ErrorBody::WriteFailure { consistency, received, required, failures, write_type }
        }),
        (name(), name(), vec(name(), 0..3)).prop_map(|(keyspace, function, arguments)| {
            ErrorBody::FunctionFailure { keyspace, function, arguments }
        }),
    ];
    if version < Version::V5 {
        return prop_oneof![oldest, younger].boxed();
    }
    let unknown = counts().prop_map(|(consistency, received, required)| ErrorBody::CasWriteUnknown {
        consistency,
        received,
        required,
    });
    prop_oneof![4 => oldest, 4 => younger, 1 => unknown].boxed()
}

fn prepared(version: Version) -> BoxedStrategy<Prepared> {
    let pk_indexes = vec(0..100u16, if version >= Version::V4 { 0..4 } else { 0..1 });
    let result_metadata_id = if version >= Version::V5 { small_bytes() } else { Just(Bytes::new()).boxed() };
    (small_bytes(), result_metadata_id, pk_indexes, columns(), columns())
        .prop_map(|(id, result_metadata_id, pk_indexes, columns, result)| Prepared {
            id,
            result_metadata_id,
            metadata: PreparedMetadata { pk_indexes, columns },
            result_metadata: RowsMetadata::new(result),
        })
        .boxed()
}

pub fn response(version: Version) -> BoxedStrategy<Response> {
    let result = prop_oneof![
        Just(ResultResponse::Void),
        rows(version).prop_map(ResultResponse::Rows),
        name().prop_map(ResultResponse::SetKeyspace),
        prepared(version).prop_map(|prepared| ResultResponse::Prepared(Box::new(prepared))),
        schema_change(version).prop_map(ResultResponse::SchemaChange),
    ];
    prop_oneof![
        4 => (name(), error_body(version))
            .prop_map(|(message, body)| Response::Error(ErrorResponse { message, body })),
        1 => Just(Response::Ready),
        1 => name().prop_map(|authenticator| Response::Authenticate(Authenticate { authenticator })),
        1 => btree_map(name(), vec(name(), 0..3), 0..4).prop_map(|options| Response::Supported(Supported { options })),
        6 => result.prop_map(Response::Result),
        2 => event(version).prop_map(Response::Event),
        1 => option::of(small_bytes()).prop_map(|token| Response::AuthChallenge(AuthChallenge { token })),
        1 => option::of(small_bytes()).prop_map(|token| Response::AuthSuccess(AuthSuccess { token })),
    ]
    .boxed()
}

pub fn response_message(version: Version) -> BoxedStrategy<ResponseMessage> {
    let many = if version >= Version::V4 { 0..3 } else { 0..1 };
    let warnings = vec(name(), many.clone());
    let custom_payload = btree_map(name(), option::of(small_bytes()), many);
    (any::<i16>(), option::of(any::<[u8; 16]>()), warnings, custom_payload, response(version))
        .prop_map(|(stream, tracing_id, warnings, custom_payload, response)| ResponseMessage {
            stream,
            tracing_id,
            warnings,
            custom_payload,
            response,
        })
        .boxed()
}
