//! DescribeAcls, CreateAcls and DeleteAcls of a broker that has no authorizer, as Kafka answers them (`AclApis`).

use super::text;
use holon_kafka::ErrorCode;
use holon_kafka::messages::create_acls_response::AclCreationResult;
use holon_kafka::messages::delete_acls_response::DeleteAclsFilterResult;
use holon_kafka::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsResponse,
};

const WHY: &str = "there are no permissions yet: no authorizer is configured";

pub(super) fn describe() -> DescribeAclsResponse {
    DescribeAclsResponse::default().with_error_code(ErrorCode::SECURITY_DISABLED.0).with_error_message(Some(text(WHY)))
}

pub(super) fn create(request: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = |_| {
        AclCreationResult::default().with_error_code(ErrorCode::SECURITY_DISABLED.0).with_error_message(Some(text(WHY)))
    };
    CreateAclsResponse::default().with_results(request.creations.iter().map(refused).collect())
}

pub(super) fn delete(request: &DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = |_| {
        DeleteAclsFilterResult::default()
            .with_error_code(ErrorCode::SECURITY_DISABLED.0)
            .with_error_message(Some(text(WHY)))
    };
    DeleteAclsResponse::default().with_filter_results(request.filters.iter().map(refused).collect())
}
