//! Users by tokens of OpenID Connect issuers: Kubernetes' `--oidc-*` flags and its AuthenticationConfiguration, as kcp has both
//! at shards and at the front-proxy.
//!
//! Invariants
//! - A token whose `iss` is not the issuer's is none of ours (`Ok(None)`): another authenticator may know it.
//! - Only signatures by keys that the issuer publishes count, each key for algorithms of its own kind; there is no symmetric
//!   one, and no "none".
//! - A process starts, and goes on, without its issuers: tokens are refused until one answers, and nothing else depends on it.
//! - An issuer is asked at most once a second, whatever tokens come; each answer has a bound in time and bytes.
//! - No token is logged, kept or part of an error.
//!
//! Not here: distributed claims (groups that another server has to be asked for), HTTP proxies, redirects.
//!
//! Read next: [`Oidc`], [`OidcOptions`], `issuer`, `claims`.
#![forbid(unsafe_code)]

mod authenticator;
mod claims;
mod client;
mod config;
mod configuration;
mod issuer;
mod key_set;
mod options;

pub use authenticator::Oidc;
pub use client::{ClientError, Clients, system_authorities};
pub use config::{ConfigError, ExtraMapping, JwtAuthenticator, Mapping, Rule};
pub use configuration::AuthenticationFile;
pub use key_set::Algorithm;
pub use options::{Issuers, OidcOptions};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
