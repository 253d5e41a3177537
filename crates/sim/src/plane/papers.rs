//! Who a connection is from. There is no TLS in the simulation: what it would have shown, the certificate of the machine at
//! the other end, is put in here, and believed or not by what believes it in production.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::{Body, Connection, RequestBody, Service};
use http::{Request, Response};
use machinery::user::MASTERS;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;

tokio::task_local! {
    /// The machine that a request under way comes from.
    static PEER: String;
}

/// The machine that asks, for whoever answers it.
pub fn peer() -> Option<String> {
    PEER.try_with(Clone::clone).ok()
}

type Chain = Arc<[CertificateDer<'static>]>;

/// The certificates of the machines of a control plane. Cheap to clone.
#[derive(Clone)]
pub struct Papers(Arc<Inner>);

struct Inner {
    component_ca: String,
    proxy_ca: String,
    component: Chain,
    proxy: Chain,
    /// Which of the two a machine has.
    hosts: BTreeMap<String, Kind>,
}

/// What a machine's connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of the control plane, who may everything.
    Component,
    /// A proxy, who says for whom it speaks.
    Proxy,
}

/// In front of a service: shows it the certificate of the machine that a connection comes from.
pub struct Checkpoint<S> {
    pub inner: S,
    /// None: nobody has any.
    pub papers: Option<Papers>,
}

// === impl Papers ===

impl Papers {
    pub fn new(hosts: &[(String, Kind)]) -> Result<Self> {
        let (components, proxies) = (authority("components")?, authority("proxies")?);
        Ok(Self(Arc::new(Inner {
            component: client(&components, "shard", &[MASTERS])?,
            proxy: client(&proxies, "front-proxy", &[])?,
            component_ca: components.pem(),
            proxy_ca: proxies.pem(),
            hosts: hosts.iter().cloned().collect(),
        })))
    }

    pub fn component_ca(&self) -> &str {
        &self.0.component_ca
    }

    pub fn proxy_ca(&self) -> &str {
        &self.0.proxy_ca
    }

    fn of(&self, host: &str) -> Option<Chain> {
        Some(match self.0.hosts.get(host)? {
            Kind::Component => self.0.component.clone(),
            Kind::Proxy => self.0.proxy.clone(),
        })
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("making a key")?;
    CertifiedIssuer::self_signed(params, key).context("making a CA")
}

fn client(authority: &Authority, name: &str, groups: &[&str]) -> Result<Chain> {
    let mut subject = DistinguishedName::new();
    groups
        .iter()
        .for_each(|group| subject.push(DnType::OrganizationName, *group));
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().context("making a key")?;
    let certificate = params.signed_by(&key, authority).context("signing a certificate")?;
    Ok(Arc::new([certificate.der().clone()]))
}

// === impl Checkpoint ===

impl<S: Service> Service for Checkpoint<S> {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        let Some(papers) = self.papers.as_ref() else {
            return self.inner.serve(request, connection).await;
        };
        let Some(certificates) = papers.of(connection.peer_address()) else {
            return self.inner.serve(request, connection).await;
        };
        let shown = Connection {
            certificates,
            ..Connection::plain(connection.peer.clone())
        };
        let peer = connection.peer_address().to_owned();
        PEER.scope(peer, self.inner.serve(request, &shown)).await
    }
}
