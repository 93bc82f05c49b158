//! AUTH_RESPONSE: SASL PLAIN. The hash is computed in slices of a task of its own; meanwhile the connection takes
//! nothing else.

use super::connection::{Answer, Connection, Stage};
use crate::error::CqlError;
use crate::limits::AUTHENTICATION_ATTEMPTS_MAX;
use crate::service::TablesService;
use holon_cql::Response;
use holon_cql::request::AuthResponse;
use holon_cql::response::AuthSuccess;
use holon_kernel::{Class, Scope};
use std::rc::Rc;

pub fn auth_response(service: &Rc<TablesService>, connection: &Rc<Connection>, stream: i16, response: AuthResponse) {
    if connection.login_running.replace(true) {
        let error = CqlError::protocol("Unexpected message AUTH_RESPONSE, the one before is being checked");
        return connection.reply_error(stream, &error);
    }
    connection.outbox().request_started();
    let (service, connection) = (service.clone(), connection.clone());
    let scope = Scope::Session(connection.id);
    service.shard().clone().spawn(scope, Class::Background, async move {
        match log_in(&service, &response).await {
            Ok(name) => {
                connection.set_account(&name);
                connection.set_stage(Stage::Ready);
                connection.reply(stream, Answer::new(Response::AuthSuccess(AuthSuccess { token: None })));
            }
            Err(error) => {
                service.requests_metrics().failed_login();
                connection.reply_error(stream, &error);
                connection.logins_failed.set(connection.logins_failed.get() + 1);
                if connection.logins_failed.get() >= AUTHENTICATION_ATTEMPTS_MAX {
                    connection.outbox().close();
                }
            }
        }
        connection.login_running.set(false);
        connection.outbox().request_ended();
    });
}

async fn log_in(service: &TablesService, response: &AuthResponse) -> Result<String, CqlError> {
    let Some((name, password)) = response.plain_credentials() else {
        return Err(CqlError::BadCredentials(
            "the token is not one of SASL PLAIN: send \\0name\\0password".to_string(),
        ));
    };
    service.accounts().log_in(service.shard(), name, password).await?;
    Ok(name.to_string())
}
