//! STARTUP: the version of the language, compression, who the driver is, and from here on the framing of v5.

use super::connection::{Answer, Connection, Stage};
use crate::error::{CqlError, CqlResult};
use holon_cql::request::Startup;
use holon_cql::response::Authenticate;
use holon_cql::{Compression, Response, Version};

/// The class that drivers know to answer with SASL PLAIN.
pub const AUTHENTICATOR: &str = "org.apache.cassandra.auth.PasswordAuthenticator";

/// Options are kept for people to read: so many, and so many characters of each.
const OPTIONS_KEPT_MAX: usize = 32;
const OPTION_CHARACTERS_MAX: usize = 128;

/// Checks STARTUP and changes the connection. The caller tells its decoder what was negotiated, after the answer has
/// been written (the answer itself is not in segments).
pub fn startup(connection: &Connection, startup: &Startup, with_password: bool) -> CqlResult<Option<Compression>> {
    let version = connection.version();
    check_cql_version(startup)?;
    let compression = compression(startup, version)?;
    let cut = |text: &String| text.chars().take(OPTION_CHARACTERS_MAX).collect::<String>();
    let options = startup.options.iter().take(OPTIONS_KEPT_MAX).map(|(name, value)| (cut(name), cut(value)));
    connection.set_startup_options(options.collect());
    connection.set_stage(if with_password { Stage::Authenticating } else { Stage::Ready });
    Ok(compression)
}

/// READY, or AUTHENTICATE where a password is needed.
pub fn answer(with_password: bool) -> Answer {
    Answer::new(match with_password {
        true => Response::Authenticate(Authenticate { authenticator: AUTHENTICATOR.to_string() }),
        false => Response::Ready,
    })
}

fn check_cql_version(startup: &Startup) -> CqlResult<()> {
    let Some(text) = startup.option("CQL_VERSION") else {
        return Err(CqlError::protocol("Missing value CQL_VERSION in STARTUP message"));
    };
    let mut numbers = text.split('.').map(|part| part.trim().parse::<u32>());
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(_)), Some(Ok(_)) | None) if major >= 3 => Ok(()),
        (Some(Ok(_)), Some(Ok(_)), Some(Ok(_)) | None) => Err(CqlError::Protocol(format!(
            "CQL version {text} is not supported by the binary protocol (supported version are >= 3.0.0)"
        ))),
        _ => Err(CqlError::Protocol(format!("Invalid version value: {text}"))),
    }
}

fn compression(startup: &Startup, version: Version) -> CqlResult<Option<Compression>> {
    startup.compression(version).map_err(|_| {
        let name = startup.option("COMPRESSION").unwrap_or_default().to_ascii_lowercase();
        CqlError::Protocol(match name.as_str() {
            "snappy" => format!("Snappy compression is not supported in protocol V{version}"),
            _ => format!("Unknown compression algorithm: {name}"),
        })
    })
}
