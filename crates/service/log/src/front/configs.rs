//! DescribeConfigs: every setting of a topic with its value, where that comes from, its kind and what it is for. AlterConfigs, and the
//! incremental form of it.

use super::resources::{self, BROKER, TOPIC};
use super::{Connection, text};
use crate::configs::{self, CONFIGS, Config, Kind};
use crate::topics::{Topic, TopicChange};
use holon_kafka::messages::alter_configs_response::AlterConfigsResourceResponse;
use holon_kafka::messages::describe_configs_request::DescribeConfigsResource;
use holon_kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use holon_kafka::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use holon_kafka::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use holon_kafka::{ErrorCode, Uuid};
use std::rc::Rc;

/// Where a value comes from (`DescribeConfigsResponse.ConfigSource`).
const OF_TOPIC: i8 = 1;
const OF_NODE: i8 = 4;
const DEFAULT: i8 = 5;

pub(super) fn source(is_set: bool) -> i8 {
    if is_set { OF_TOPIC } else { DEFAULT }
}

pub(super) fn describe_configs(connection: &Connection, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match described(connection, &resource, synonyms, documentation) {
            Ok(configs) => result.with_configs(configs),
            Err((error, why)) => result.with_error_code(error.0).with_error_message(Some(text(why))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn described(
    connection: &Connection,
    resource: &DescribeConfigsResource,
    synonyms: bool,
    documentation: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let topic = match resource.resource_type {
        TOPIC if resource.resource_name.is_empty() => {
            return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, "a topic has a name".to_string()));
        }
        TOPIC => connection
            .topic(&resource.resource_name, Uuid::nil())
            .map_err(|error| (error, "there is no such topic".to_string()))?,
        BROKER => return of_node(connection, resource, documentation),
        other => return Err((ErrorCode::INVALID_REQUEST, format!("resources of type {other} have no settings here"))),
    };
    let is_asked = |config: &&Config| {
        resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| **key == *config.name))
    };
    let told = |config: &Config| {
        let set = topic.configs.get(config.name);
        let value = text(set.map_or(config.default, String::as_str));
        let synonym = |value: &str, source: i8| {
            DescribeConfigsSynonym::default()
                .with_name(text(config.name))
                .with_value(Some(text(value)))
                .with_source(source)
        };
        let of_topic = set.map(|value| synonym(value, OF_TOPIC));
        let all = of_topic.into_iter().chain([synonym(config.default, DEFAULT)]).collect();
        DescribeConfigsResourceResult::default()
            .with_name(text(config.name))
            .with_value(Some(value))
            .with_config_source(source(set.is_some()))
            .with_config_type(number_of(config.kind))
            .with_synonyms(if synonyms { all } else { Vec::new() })
            .with_documentation(documentation.then(|| text(config.help)))
    };
    Ok(CONFIGS.iter().filter(is_asked).map(told).collect())
}

/// Of the node that is asked. What all brokers have by default has no name, and nothing is set for it.
fn of_node(
    connection: &Connection,
    resource: &DescribeConfigsResource,
    documentation: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let name = &*resource.resource_name;
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let own = connection.own_broker_id().0;
    if name.parse() != Ok(own) {
        let why = format!("node {own} tells of its own settings, not of those of {name}");
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let is_asked =
        |name: &str| resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| **key == *name));
    let told = |setting: resources::OfNode| {
        DescribeConfigsResourceResult::default()
            .with_name(text(setting.name))
            .with_value(Some(text(setting.value)))
            .with_config_source(if setting.is_set { OF_NODE } else { DEFAULT })
            .with_read_only(true)
            .with_config_type(number_of(setting.kind))
            .with_documentation(documentation.then(|| text(setting.help)))
    };
    Ok(resources::of_node(connection).into_iter().filter(|setting| is_asked(setting.name)).map(told).collect())
}

/// `ConfigDef.Type` as DescribeConfigs numbers it.
fn number_of(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text => 2,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
    }
}

type Refusal = (ErrorCode, String);

/// What is to be set, and what is to be as the default is.
type Changes = Vec<(String, Option<String>)>;

/// What IncrementalAlterConfigs does with a value (`AlterConfigOp.OpType`).
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) async fn alter_configs(connection: &Connection, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let outcome = async {
            let topic = altered(connection, resource.resource_type, &resource.resource_name)?;
            // What is not named is as the default is.
            let mut changes: Changes = topic.configs.keys().map(|name| (name.clone(), None)).collect();
            for config in &resource.configs {
                let value = config.value.as_ref().ok_or_else(|| null_value(&config.name))?.to_string();
                changes.push((config.name.to_string(), Some(value)));
            }
            apply(connection, &topic, changes, request.validate_only).await
        };
        let outcome: Result<(), Refusal> = outcome.await;
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        responses.push(match outcome {
            Ok(()) => response,
            Err((error, why)) => response.with_error_code(error.0).with_error_message(Some(text(why))),
        });
    }
    AlterConfigsResponse::default().with_responses(responses)
}

pub(super) async fn incremental_alter_configs(
    connection: &Connection,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let outcome = async {
            let topic = altered(connection, resource.resource_type, &resource.resource_name)?;
            let mut changes = Changes::new();
            for config in &resource.configs {
                let value = config.value.as_ref().map(|value| value.to_string());
                let value = changed(&topic, &config.name, config.config_operation, value)?;
                changes.push((config.name.to_string(), value));
            }
            apply(connection, &topic, changes, request.validate_only).await
        };
        let outcome: Result<(), Refusal> = outcome.await;
        let response = IncrementalResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        responses.push(match outcome {
            Ok(()) => response,
            Err((error, why)) => response.with_error_code(error.0).with_error_message(Some(text(why))),
        });
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn null_value(name: &str) -> Refusal {
    (ErrorCode::INVALID_REQUEST, format!("Null value not supported for : {name}"))
}

fn altered(connection: &Connection, kind: i8, name: &str) -> Result<Rc<Topic>, Refusal> {
    match kind {
        TOPIC => connection.topic(name, Uuid::nil()).map_err(|error| (error, "there is no such topic".to_string())),
        BROKER => {
            let why = "a node is set by its file, flags and environment (`holon config`)";
            Err((ErrorCode::INVALID_REQUEST, why.to_string()))
        }
        other => Err((ErrorCode::INVALID_REQUEST, format!("resources of type {other} have no settings here"))),
    }
}

/// The value that a setting has after one of the operations; `None`: the default.
fn changed(topic: &Topic, name: &str, operation: i8, value: Option<String>) -> Result<Option<String>, Refusal> {
    if operation == DELETE {
        return Ok(None);
    }
    let value = value.ok_or_else(|| null_value(name))?;
    if operation == SET {
        return Ok(Some(value));
    }
    let config = configs::find(name).filter(|config| config.kind == Kind::List);
    let (Some(config), APPEND | SUBTRACT) = (config, operation) else {
        let why = format!("Config value append is not allowed for config key: {name}");
        return Err((ErrorCode::INVALID_CONFIG, why));
    };
    let now = topic.configs.get(name).map_or(config.default, String::as_str);
    let mut parts: Vec<&str> = now.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let given: Vec<&str> = value.split(',').map(str::trim).collect();
    if operation == APPEND {
        given.into_iter().for_each(|part| {
            if !parts.contains(&part) {
                parts.push(part);
            }
        });
    } else {
        parts.retain(|part| !given.contains(part));
    }
    Ok(Some(parts.join(",")))
}

async fn apply(connection: &Connection, topic: &Topic, changes: Changes, only_check: bool) -> Result<(), Refusal> {
    for (name, value) in &changes {
        let value = value.as_deref().or_else(|| configs::find(name).map(|config| config.default));
        configs::check(name, value.unwrap_or_default()).map_err(|why| (ErrorCode::INVALID_CONFIG, why))?;
    }
    if only_check {
        return Ok(());
    }
    connection.change(TopicChange::Configure { group: topic.group, configs: changes }).await.map(|_| ())
}
