//! TLS to Postgres: `disable`, `require`, `verify-full`. No mode falls back to plain text by itself.

use std::path::Path;

use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// Encrypted, but the identity of the server is not checked.
    Require,
    /// Encrypted, and the server's certificate must come from a trusted authority and name the host.
    VerifyFull,
}

/// Takes `sslmode` out of a URL or of `key=value` pairs, because the driver knows fewer modes than people use.
pub(super) fn split_sslmode(url: &str) -> Result<(String, Option<TlsMode>)> {
    let (rest, mode) = match url.split_once('?') {
        Some((base, query)) if url.starts_with("postgres") => {
            let (modes, others): (Vec<&str>, Vec<&str>) =
                query.split('&').partition(|pair| pair.starts_with("sslmode="));
            (format!("{base}?{}", others.join("&")), modes.first().map(|pair| &pair["sslmode=".len()..]))
        }
        _ if url.starts_with("postgres") && url.contains("://") => (url.to_owned(), None),
        _ => {
            // A quoted value next to it may contain white space.
            let begins = |at: &usize| url[..*at].chars().next_back().is_none_or(char::is_whitespace);
            match url.match_indices("sslmode").map(|(at, _)| at).find(begins) {
                None => (url.to_owned(), None),
                Some(at) => {
                    let pair = url[at..].split_whitespace().next().unwrap_or_default();
                    let rest = format!("{}{}", &url[..at], url[at + pair.len()..].trim_start());
                    (rest, Some(pair.strip_prefix("sslmode=").unwrap_or_default()))
                }
            }
        }
    };
    let mode = match mode {
        None => None,
        Some("disable") => Some(TlsMode::Disable),
        Some("require") => Some(TlsMode::Require),
        Some("verify-full") => Some(TlsMode::VerifyFull),
        Some(other) => {
            return Err(Error::configuration(format!(
                "sslmode={other} in the database URL may end in an unchecked connection; write disable, require or verify-full"
            )));
        }
    };
    Ok((rest, mode))
}

/// Creates a connector for `mode` that trusts the authorities in `roots`, or else those of the system.
pub(super) fn connector(mode: TlsMode, roots: Option<&Path>) -> Result<MakeTlsConnector> {
    let mut builder = TlsConnector::builder();
    if mode == TlsMode::Require {
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    }
    if let Some(path) = roots {
        let place = format!("database.root_certificates {}", path.display());
        let pem = std::fs::read(path).map_err(|error| {
            Error::with_source(crate::error::ErrorKind::Configuration, format!("{place}: cannot be read"), error)
        })?;
        let authorities = Certificate::stack_from_pem(&pem).unwrap_or_default();
        if authorities.is_empty() {
            return Err(Error::configuration(format!("{place}: holds no PEM certificate")));
        }
        builder.disable_built_in_roots(true);
        for authority in authorities {
            builder.add_root_certificate(authority);
        }
    }
    let connector = builder.build().map_err(|error| Error::system("prepare TLS", error))?;
    Ok(MakeTlsConnector::new(connector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sslmode_is_taken_out_of_either_form() {
        let (rest, mode) = split_sslmode("postgres://u:p@h:1/d?sslmode=verify-full&application_name=x").unwrap();
        assert_eq!((rest.as_str(), mode), ("postgres://u:p@h:1/d?application_name=x", Some(TlsMode::VerifyFull)));
        let (rest, mode) = split_sslmode("host=h sslmode=require user=u").unwrap();
        assert_eq!((rest.as_str(), mode), ("host=h user=u", Some(TlsMode::Require)));
        let (rest, mode) = split_sslmode("password='a  b' sslmode=require user=u").unwrap();
        assert_eq!((rest.as_str(), mode), ("password='a  b' user=u", Some(TlsMode::Require)));
        assert!(split_sslmode("host=h sslmode = require").is_err());
        assert_eq!(split_sslmode("host=/tmp user=u").unwrap().1, None);
        let encoded = "postgres://h/d?options=-c%20geqo%3Doff";
        assert_eq!(split_sslmode(encoded).unwrap(), (encoded.to_owned(), None));
    }

    #[test]
    fn a_mode_that_falls_back_silently_is_refused() {
        for mode in ["prefer", "allow", "verify-ca"] {
            assert!(split_sslmode(&format!("postgres://h/d?sslmode={mode}")).is_err(), "{mode}");
        }
    }
}
