//! Connecting: TLS, and whether the members are new enough.

use super::{EtcdOptions, RETRY_DELAY};
use crate::Error;
use crate::etcd::failure::Failure;
use env::Env;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Before this, progress may be announced ahead of the events it covers; Kubernetes refuses to rely on it too.
const VERSION_MIN: (u64, u64, u64) = (3, 5, 13);

/// A dead connection is noticed after these two together.
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of all members, of which at least one has answered and none that has is too old.
pub(super) async fn connect(env: &Env, options: &EtcdOptions) -> Result<Client, Error> {
    if options.endpoints.is_empty() {
        return Err(Error::Unavailable("no etcd endpoint is given".to_owned()));
    }
    let connection = connection(env, options).await?;
    let mut last = Error::Unavailable("etcd did not answer in time".to_owned());
    let checked = env.clock.timeout(options.timeout, async {
        loop {
            match check_members(env, options, &connection).await {
                Err(error @ Error::Unavailable(_)) => last = error,
                result => return result,
            }
            env.clock.sleep(RETRY_DELAY).await;
        }
    });
    match checked.await {
        Ok(result) => result?,
        Err(_) => return Err(last),
    }
    client(&options.endpoints, connection).await
}

async fn client(endpoints: &[String], connection: ConnectOptions) -> Result<Client, Error> {
    Client::connect(endpoints, Some(connection))
        .await
        .map_err(|error| Failure::from(error).into_read_error())
}

async fn connection(env: &Env, options: &EtcdOptions) -> Result<ConnectOptions, Error> {
    let connection = ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_keep_alive(KEEP_ALIVE_PERIOD, KEEP_ALIVE_TIMEOUT)
        .with_keep_alive_while_idle(true)
        // A member that lost its leader ends its watches instead of keeping silent.
        .with_require_leader(true);
    if options.ca.is_none() && options.identity.is_none() {
        return Ok(connection);
    }
    let mut tls = TlsOptions::new();
    if let Some(ca) = &options.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(env, ca).await?));
    }
    if let Some((certificate, key)) = &options.identity {
        tls = tls.identity(Identity::from_pem(read(env, certificate).await?, read(env, key).await?));
    }
    Ok(connection.with_tls(tls))
}

async fn read(env: &Env, path: &Path) -> Result<Vec<u8>, Error> {
    let (disk, path): (_, PathBuf) = (env.disk.clone(), path.to_owned());
    let place = path.display().to_string();
    let contents = env.spawn.blocking(move || disk.read(&path)).await;
    contents.map_err(|error| Error::Unavailable(format!("{place} cannot be read: {error}")))
}

async fn check_members(env: &Env, options: &EtcdOptions, connection: &ConnectOptions) -> Result<(), Error> {
    let (mut answered, mut last) = (false, Error::Unavailable("no etcd member answers".to_owned()));
    for endpoint in &options.endpoints {
        let client = client(std::slice::from_ref(endpoint), connection.clone()).await?;
        let status = async { client.maintenance_client().status().await.map_err(Failure::from) };
        match env.clock.timeout(CONNECT_TIMEOUT, status).await {
            Ok(Ok(status)) => {
                check_version(endpoint, status.version())?;
                answered = true;
            }
            Ok(Err(failure)) => last = failure.into_read_error(),
            Err(_) => {}
        }
    }
    if answered { Ok(()) } else { Err(last) }
}

fn check_version(endpoint: &str, version: &str) -> Result<(), Error> {
    let (major, minor, patch) = VERSION_MIN;
    let mut numbers = version.split(['.', '-', '+']).map_while(|number| number.parse().ok());
    let found = (
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
    );
    match found >= VERSION_MIN {
        true => Ok(()),
        false => Err(Error::Unsupported(format!(
            "etcd at {endpoint} has version {version}, but at least {major}.{minor}.{patch} is needed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_old_versions_by_name() {
        for good in ["3.5.13", "3.5.16", "3.6.0", "3.6.0-rc.1", "4.0.0"] {
            assert_eq!(check_version("e", good), Ok(()), "{good}");
        }
        for bad in ["3.5.12", "3.4.30", "3.5", "", "unknown"] {
            let text = check_version("http://e:2379", bad).unwrap_err().to_string();
            assert_eq!(
                text,
                format!("etcd at http://e:2379 has version {bad}, but at least 3.5.13 is needed")
            );
        }
    }
}
