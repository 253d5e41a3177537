use apiserver::auth::Credentials;
use clap::Parser;
use http::HeaderMap;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: ProxyOptions,
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client(ca: &Ca, name: &str) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap();
    certificate.der().clone()
}

/// Headers name the user only where the certificate of a proxy in front says so; anybody else is whom the certificate names.
#[tokio::test]
async fn only_proxies_in_front_name_users() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, ca: &Ca| {
        let file = directory.path().join(name);
        std::fs::write(&file, ca.pem()).unwrap();
        file.display().to_string()
    };
    let (proxies, clients) = (ca(), ca());
    let line = [
        "kcp-front-proxy".to_owned(),
        "--mapping-file=/none".to_owned(),
        "--shards-kubeconfig=/none".to_owned(),
        format!("--requestheader-client-ca-file={}", file("proxies", &proxies)),
        "--requestheader-allowed-names=kcp-mounts-proxy".to_owned(),
        format!("--client-ca-file={}", file("clients", &clients)),
    ];
    let Line { options } = Line::parse_from(line);
    let env = Env::real();
    let routes = Arc::new(Routes::new([1, 2]));
    let peers = Peers::new(&env, routes, None, UpstreamOptions::default());
    let members = authenticators(&env, &options, &peers).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-remote-user", HeaderValue::from_static("jane"));
    headers.insert("x-remote-group", HeaderValue::from_static("dev"));
    for (certificate, who) in [
        (client(&proxies, "kcp-mounts-proxy"), Some("jane")),
        (client(&proxies, "somebody"), None),
        (client(&clients, "kcp-mounts-proxy"), Some("kcp-mounts-proxy")),
        (client(&ca(), "kcp-mounts-proxy"), None),
    ] {
        let certificates = [certificate];
        let credentials = Credentials {
            peer_certificates: &certificates,
            bearer_token: None,
            headers: &headers,
            scope: None,
        };
        let mut known = None;
        for member in &members {
            known = known.or(member.authenticate(&credentials).await.ok().flatten());
        }
        assert_eq!(known.map(|user| user.name).as_deref(), who);
    }
}
