//! The commands that the chart renders are command lines of our programs.

use cache_server::options::CacheOptions;
use clap::Parser;
use deploy::Manifests;
use front_proxy::options::ProxyOptions;
use shard::issue::IssueOptions;
use shard::options::StartOptions;
use virtual_workspaces::program::ProgramOptions;

#[derive(Parser)]
enum Kcp {
    Start(Box<StartOptions>),
    Issue(IssueOptions),
}

#[derive(Parser)]
struct Proxy {
    #[command(flatten)]
    options: ProxyOptions,
}

#[derive(Parser)]
struct Cache {
    #[command(flatten)]
    options: CacheOptions,
}

#[derive(Parser)]
struct Views {
    #[command(flatten)]
    options: ProgramOptions,
}

/// What a program's own options say of a command line. `None`: there is no command.
fn parse(line: &[String]) -> Option<Result<(), String>> {
    let program = line.first()?.strip_prefix('/')?;
    Some(match program {
        "kcp" => match Kcp::try_parse_from(line) {
            Ok(Kcp::Start(options)) => options.validate(),
            Ok(Kcp::Issue(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        "kcp-front-proxy" => match Proxy::try_parse_from(line) {
            Ok(Proxy { options }) => options.oidc.validate(),
            Err(error) => Err(error.to_string()),
        },
        "cache-server" => match Cache::try_parse_from(line) {
            Ok(Cache { options }) => options.validate(),
            Err(error) => Err(error.to_string()),
        },
        "virtual-workspaces" => match Views::try_parse_from(line) {
            Ok(views) => views.options.validate(),
            Err(error) => Err(error.to_string()),
        },
        other => Err(format!("there is no program {other}")),
    })
}

#[test]
fn every_command_is_one_of_our_programs() {
    let mut parsed = 0;
    for name in Manifests::names().unwrap() {
        let manifests = Manifests::rendered(&name).unwrap();
        for container in manifests.containers() {
            let line: Vec<String> = container.command();
            if line.first().is_some_and(|program| program == "etcd") {
                continue;
            }
            if let Some(outcome) = parse(&line) {
                assert_eq!(outcome, Ok(()), "{name}: {}", container.workload);
                parsed += 1;
            }
        }
    }
    assert!(parsed >= 4 * 4, "{parsed}");
}

#[test]
fn flags_are_given_once_and_as_one_word() {
    for name in Manifests::names().unwrap() {
        for container in Manifests::rendered(&name).unwrap().containers() {
            let mut seen = std::collections::BTreeSet::new();
            let command = container.command();
            let extra = command.iter().position(|argument| argument == "--v=4");
            for argument in command
                .iter()
                .take(extra.unwrap_or(command.len()))
                .filter(|word| word.starts_with('-'))
            {
                let (flag, value) = argument.split_once('=').unwrap_or_else(|| panic!("{name}: {argument}"));
                assert!(
                    !value.is_empty() && seen.insert(flag.to_owned()),
                    "{name}: {}: {argument}",
                    container.workload
                );
            }
        }
    }
}

/// What kcp's own charts give (kcp-dev/helm-charts ca73c22: charts `kcp`, `shard` and `proxy`, OIDC on, audit on).
///
/// Its charts render no `virtual-workspaces` (the views are in the shards); those flags are the program's own.
const KCPS_OWN: [&str; 4] = [
    "/kcp start --etcd-servers=https://etcd:2379 --etcd-keyfile=/e/tls.key --etcd-certfile=/e/tls.crt --etcd-cafile=/e/ca.crt \
     --client-ca-file=/c/tls.crt --tls-private-key-file=/t/tls.key --tls-cert-file=/t/tls.crt \
     --service-account-key-file=/s/tls.key --service-account-private-key-file=/s/tls.key --root-ca-file=/r/tls.crt \
     --enable-home-workspaces=true --logical-cluster-admin-kubeconfig=/l/kubeconfig \
     --external-logical-cluster-admin-kubeconfig=/x/kubeconfig --requestheader-client-ca-file=/h/tls.crt \
     --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
     --requestheader-extra-headers-prefix=X-Remote-Extra- --mount-proxy-client-cert-file=/m/tls.crt \
     --mount-proxy-client-key-file=/m/tls.key --root-directory= --shard-virtual-workspace-ca-file=/r/tls.crt \
     --shard-base-url=https://kcp:6443 --shard-external-url=https://kcp.example.com:443 \
     --external-hostname=kcp.example.com:443 --v=3 --logging-format=json --audit-log-maxage=30 --audit-log-maxbackup=10 \
     --audit-log-maxsize=250 --audit-log-path=/var/audit/kcp.log --audit-policy-file=/etc/policy.yaml --audit-log-compress \
     --audit-log-format=json --profiler-address=0.0.0.0:6060 --batteries-included=workspace-types --enable-leader-election",
    "/kcp start --shard-name=alpha --root-shard-kubeconfig-file=/k/kubeconfig --shard-client-cert-file=/h/tls.crt \
     --shard-client-key-file=/h/tls.key --etcd-servers=https://etcd:2379 --client-ca-file=/c/tls.crt \
     --tls-private-key-file=/t/tls.key --tls-cert-file=/t/tls.crt --service-account-private-key-file=/s/tls.key \
     --root-directory=/etc/kcp/config --external-hostname=alpha.kcp:6443 --shard-external-url=https://kcp.example.com:443 \
     --cache-kubeconfig=/etc/kcp/cache/kubeconfig/kubeconfig",
    "/kcp-front-proxy --secure-port=8443 --root-kubeconfig=/k/kubeconfig --shards-kubeconfig=/s/kubeconfig \
     --tls-private-key-file=/t/tls.key --tls-cert-file=/t/tls.crt --client-ca-file=/c/tls.crt \
     --requestheader-client-ca-file=/h/tls.crt --requestheader-allowed-names=kcp-mounts-proxy \
     --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
     --requestheader-extra-headers-prefix=X-Remote-Extra- --service-account-key-file=/a/tls.key \
     --service-account-lookup=false --mapping-file=/m/path-mapping.yaml --v=3 --logging-format=json \
     --profiler-address=localhost:6060 --token-auth-file=/etc/kcp/token-auth/auth-token.csv \
     --oidc-issuer-url=https://issuer --oidc-client-id=kcp --oidc-groups-claim=groups --oidc-username-claim=email \
     --oidc-username-prefix=oidc: --oidc-groups-prefix=oidc: --oidc-ca-file=/etc/kcp/tls/oidc/ca.crt",
    "/virtual-workspaces --kubeconfig=/k/kubeconfig --context=root --authentication-kubeconfig=/k/kubeconfig \
     --authentication-skip-lookup --external-logical-cluster-admin-kubeconfig=/x/kubeconfig --cache-kubeconfig=/c/kubeconfig \
     --client-ca-file=/c/tls.crt --requestheader-client-ca-file=/h/tls.crt --requestheader-username-headers=X-Remote-User \
     --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
     --requestheader-allowed-names=kcp-front-proxy --tls-private-key-file=/t/tls.key --tls-cert-file=/t/tls.crt \
     --secure-port=6444 --bind-address=0.0.0.0 --shard-external-url=https://kcp.example.com:443 --v=3 --logging-format=json \
     --profiler-address=localhost:6060",
];

#[test]
fn the_commands_of_kcps_own_charts_start_our_programs() {
    for line in KCPS_OWN {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(parse(&words), Some(Ok(())), "{line}");
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    let line = ["/kcp", "start", "--no-such-flag=1"].map(str::to_owned);
    assert!(parse(&line).unwrap().is_err());
}
