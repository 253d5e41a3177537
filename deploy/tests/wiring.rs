//! What the manifests refer to is there: files, Secrets, services, ports. Tests of the rendering alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use deploy::{Manifests, Source, array, id, pod_of};
use machinery::object::ObjectExt;
use serde_json::Value;

/// Secrets that the values of examples say are somebody else's.
const GIVEN: [&str; 8] = [
    "cache-etcd",
    "etcd",
    "issuer-ca",
    "issuers",
    "kcp-tokens",
    "public",
    "public-ca",
    "users-ca",
];

fn each(mut of: impl FnMut(&str, &Manifests)) {
    for name in Manifests::names().unwrap() {
        of(&name, &Manifests::rendered(&name).unwrap());
    }
}

/// Secrets that somebody writes: the bootstrap job, or cert-manager.
fn issued(manifests: &Manifests) -> BTreeSet<String> {
    let certificates = manifests.of_kind("Certificate");
    let mut names: BTreeSet<String> = certificates
        .filter_map(|object| object.str_at(&["spec", "secretName"]))
        .map(str::to_owned)
        .collect();
    if let Some(list) = list(manifests) {
        for entry in ["authorities", "certificates"]
            .iter()
            .flat_map(|field| array(&list, field))
        {
            names.insert(entry.str_at(&["secret"]).unwrap().to_owned());
        }
    }
    names
}

/// What the bootstrap job is to issue, if there is one.
fn list(manifests: &Manifests) -> Option<Value> {
    let mut maps = manifests.of_kind("ConfigMap");
    let text = maps.find_map(|map| map["data"]["certificates.yaml"].as_str())?;
    Some(machinery::yaml::decode_value(text.as_bytes()).unwrap())
}

/// Names that some certificate is good for.
fn certified(manifests: &Manifests) -> BTreeSet<String> {
    let list = list(manifests);
    let listed = list.iter().flat_map(|list| array(list, "certificates"));
    let made = manifests.of_kind("Certificate").map(|object| object["spec"].clone());
    let names = listed.chain(made).flat_map(|entry| array(&entry, "dnsNames"));
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Absolute paths in a text: in flags, kubeconfigs and mappings.
fn paths(text: &str) -> Vec<&str> {
    let ends = |c: char| c.is_whitespace() || "\"',}=".contains(c);
    text.split(ends)
        .filter(|word| word.starts_with("/etc/") || word.starts_with("/var/"))
        .collect()
}

#[test]
fn every_file_that_is_named_is_mounted() {
    each(|name, manifests| {
        for container in manifests.containers() {
            let files = container.files(manifests);
            let writable = container.writable();
            let is_there = |path: &str| {
                let path = Path::new(path);
                files.contains_key(path)
                    || writable.iter().any(|directory| path.starts_with(directory))
                    // Of the image, and of pods that have a token.
                    || path == Path::new("/etc/ssl/certs/ca-certificates.crt")
                    || path.starts_with("/var/run/secrets/kubernetes.io/serviceaccount")
            };
            for argument in container.command() {
                for path in paths(&argument) {
                    assert!(is_there(path), "{name}: {}: {argument}", container.workload);
                }
            }
            // Files name files: those that the command is told of.
            for (file, source) in &files {
                let Source::ConfigMap { name: map, key } = source else {
                    continue;
                };
                let used = container
                    .command()
                    .iter()
                    .any(|argument| argument.ends_with(&*file.to_string_lossy()));
                let text = manifests.get("ConfigMap", map).unwrap()["data"][key]
                    .as_str()
                    .unwrap()
                    .to_owned();
                for path in paths(&text).into_iter().filter(|_| used) {
                    assert!(
                        is_there(path),
                        "{name}: {}: {}: {path}",
                        container.workload,
                        file.display()
                    );
                }
            }
        }
    });
}

#[test]
fn every_secret_is_issued_or_somebody_elses() {
    each(|name, manifests| {
        let issued = issued(manifests);
        for container in manifests.containers() {
            for (file, source) in container.files(manifests) {
                let Source::Secret { name: secret, .. } = source else {
                    continue;
                };
                let is_known = issued.contains(&secret) || GIVEN.contains(&secret.as_str());
                assert!(is_known, "{name}: {}: {}", container.workload, file.display());
            }
        }
    });
}

#[test]
fn the_key_of_an_authority_is_in_no_pod() {
    each(|name, manifests| {
        for container in manifests.containers() {
            for source in container.files(manifests).into_values() {
                let Source::Secret { name: secret, key } = source else {
                    continue;
                };
                assert!(
                    !(secret.ends_with("-ca") && key == "tls.key"),
                    "{name}: {}: {secret}",
                    container.workload
                );
            }
        }
    });
}

#[test]
fn every_address_is_a_service_with_that_port_and_a_certificate_for_it() {
    each(|name, manifests| {
        let certified = certified(manifests);
        let texts = manifests
            .containers()
            .into_iter()
            .flat_map(|container| container.command());
        let maps = manifests.of_kind("ConfigMap").map(|map| map["data"].to_string());
        for text in texts.chain(maps) {
            for url in text.split("https://").skip(1) {
                let address = url.split(|c: char| "/,\"' \n\\".contains(c)).next().unwrap();
                let Some((host, port)) = address.split_once(':') else {
                    continue;
                };
                let Some(host) = host.strip_suffix(".kcp.svc") else {
                    continue;
                };
                // A member of a StatefulSet is named before its service.
                let service = host.rsplit('.').next().unwrap();
                let found = manifests.get("Service", service);
                let found = found.unwrap_or_else(|| panic!("{name}: no service {service}"));
                let ports = array(&found["spec"], "ports");
                let is_served = |wanted: &str| {
                    ports
                        .iter()
                        .any(|port| wanted.parse().is_ok_and(|wanted: u64| port["port"] == wanted))
                };
                let is_member = host.contains('.') || address.contains("0.0.0.0");
                assert!(is_member || is_served(port), "{name}: {address}");
                // A member's name is made of a variable in some places.
                let is_certified = host.contains('$') || certified.contains(&format!("{host}.kcp.svc"));
                assert!(is_certified, "{name}: no certificate is good for {host}.kcp.svc");
            }
        }
    });
}

#[test]
fn services_and_budgets_select_pods() {
    each(|name, manifests| {
        let pods: Vec<&Value> = manifests
            .0
            .iter()
            .filter(|object| pod_of(object).is_some())
            .filter_map(|object| object.pointer("/spec/template/metadata/labels"))
            .collect();
        let selectors = manifests
            .of_kind("Service")
            .map(|object| (object, &object["spec"]["selector"]));
        let budgets = manifests.of_kind("PodDisruptionBudget");
        let budgets = budgets.map(|object| (object, &object["spec"]["selector"]["matchLabels"]));
        for (object, selector) in selectors.chain(budgets) {
            let wanted = selector.as_object().unwrap();
            let is_met = |labels: &&&Value| wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
            assert!(pods.iter().any(|labels| is_met(&labels)), "{name}: {}", id(object));
        }
    });
}

#[test]
fn no_container_may_more_than_it_needs() {
    each(|name, manifests| {
        for container in manifests.containers() {
            let at = format!("{name}: {}", container.workload);
            let own = &container.container["securityContext"];
            assert_eq!(own["allowPrivilegeEscalation"], false, "{at}");
            assert_eq!(own["readOnlyRootFilesystem"], true, "{at}");
            assert_eq!(own["capabilities"]["drop"], serde_json::json!(["ALL"]), "{at}");
            let pod = &container.pod["securityContext"];
            assert_eq!(pod["runAsNonRoot"], true, "{at}");
            assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault", "{at}");
            let has_token = container.pod["automountServiceAccountToken"] == true;
            assert_eq!(has_token, container.workload.contains("certificates"), "{at}");
            assert!(container.container["resources"]["limits"]["memory"].is_string(), "{at}");
            let is_once = ["Job/", "CronJob/"]
                .iter()
                .any(|kind| container.workload.starts_with(kind));
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                assert_eq!(container.container[probe].is_object(), !is_once, "{at}: {probe}");
            }
        }
    });
}

/// Label values, and names of what becomes a name in the DNS or a label of pods, are not in the schemas.
#[test]
fn names_and_labels_are_ones_that_kubernetes_takes() {
    each(|name, manifests| {
        for object in &manifests.0 {
            let (at, own) = (id(object), object.str_at(&["metadata", "name"]).unwrap());
            let longest = match object.str_at(&["kind"]).unwrap() {
                "Service" => 63,
                // Of pods of a StatefulSet the revision is a label: 11 characters more. Jobs of a CronJob are called after it.
                "StatefulSet" | "CronJob" => 52,
                "Job" => 63,
                _ => 253,
            };
            assert!(own.len() <= longest, "{name}: {at}");
            assert_eq!(
                machinery::names::dns1123_subdomain(own),
                Vec::<String>::new(),
                "{name}: {at}"
            );
            assert_eq!(object.str_at(&["metadata", "namespace"]), Some("kcp"), "{name}: {at}");
            let labels = ["/metadata/labels", "/spec/template/metadata/labels"];
            for labels in labels.iter().filter_map(|path| object.pointer(path)) {
                for value in labels.as_object().unwrap().values() {
                    let value = value.as_str().unwrap();
                    assert_eq!(
                        machinery::names::label_value(value),
                        Vec::<String>::new(),
                        "{name}: {at}"
                    );
                }
            }
        }
    });
}

fn by_id(name: &str) -> BTreeMap<String, Value> {
    let manifests = Manifests::rendered(name).unwrap();
    let count = manifests.0.len();
    let objects: BTreeMap<String, Value> = manifests.0.into_iter().map(|object| (id(&object), object)).collect();
    assert_eq!(objects.len(), count, "{name}: something is there twice");
    objects
}

/// One value more adds objects of the new shard, and changes nothing but the list of certificates.
#[test]
fn a_further_shard_changes_nothing_that_runs() {
    for (before, after, shard, changed) in [
        (
            "one-shard",
            "one-shard-more",
            "alpha",
            &["ConfigMap/kcp-certificates", "Role/kcp-certificates"][..],
        ),
        ("two-shards", "two-shards-more", "beta", &[]),
    ] {
        let (before, after) = (by_id(before), by_id(after));
        let mut differ: Vec<&str> = Vec::new();
        for (name, object) in &before {
            // A job is called after its list, and runs once.
            if !name.starts_with("Job/") && after.get(name) != Some(object) {
                differ.push(name);
            }
        }
        assert_eq!(differ, changed, "{shard}");
        let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
        let names = [format!("-{shard}"), format!("-{shard}-")];
        for name in &new {
            let is_of_it = name.ends_with(&names[0]) || name.contains(&names[1]);
            assert!(is_of_it || name.starts_with("Job/"), "{name} is not of {shard}");
        }
        let runs = |kind: &str| new.iter().any(|name| **name == format!("{kind}-{shard}"));
        assert!(runs("Deployment/kcp-shard") && runs("StatefulSet/kcp-etcd"), "{new:?}");
    }
}

/// Of the examples, too: what was added is one value.
#[test]
fn a_further_shard_is_one_value() {
    for (before, after, shard) in [
        ("one-shard", "one-shard-more", "alpha"),
        ("two-shards", "two-shards-more", "beta"),
    ] {
        let read = |name: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("values/{name}.yaml"));
            let mut values = machinery::yaml::decode_value(&std::fs::read(file).unwrap()).unwrap();
            if values.get("shards").is_none() {
                values["shards"] = serde_json::json!([{"name": "root"}]);
            }
            values
        };
        let mut expected = read(before);
        let shards = expected["shards"].as_array_mut().unwrap();
        shards.push(serde_json::json!({"name": shard}));
        assert_eq!(read(after), expected);
    }
}

/// A store that nobody chose is an etcd of the chart, three members with TLS both ways, for each shard.
#[test]
fn etcd_is_the_default_store() {
    for (name, shards) in [
        ("one-shard", &["root"][..]),
        ("two-shards", &["root", "alpha"]),
        ("five-shards", &["root", "alpha"]),
    ] {
        let manifests = Manifests::rendered(name).unwrap();
        for shard in shards {
            let set = manifests.get("StatefulSet", &format!("kcp-etcd-{shard}")).unwrap();
            assert_eq!(set["spec"]["replicas"], 3, "{name}: {shard}");
            let etcd = manifests.container(&id(set)).unwrap().command();
            for flag in ["--client-cert-auth=true", "--peer-client-cert-auth=true"] {
                assert!(etcd.iter().any(|word| word == flag), "{name}: {shard}: {flag}");
            }
            let server = manifests.container(&format!("Deployment/kcp-shard-{shard}")).unwrap();
            let wanted = format!("--etcd-servers=https://kcp-etcd-{shard}.kcp.svc:2379");
            assert!(server.command().contains(&wanted), "{name}: {shard}");
        }
    }
}

#[test]
fn issuers_of_users_are_told_to_the_front_proxy_and_to_every_shard() {
    let flags = |name: &str| -> Vec<Vec<String>> {
        let manifests = Manifests::rendered(name).unwrap();
        let told = |word: &String| word.starts_with("--oidc-") || word.starts_with("--authentication-");
        manifests
            .containers()
            .into_iter()
            .filter(|container| ["/kcp", "/kcp-front-proxy"].contains(&&*container.command()[0]))
            .filter(|container| !container.workload.contains("certificates"))
            .map(|container| container.command().into_iter().filter(told).collect())
            .collect()
    };
    let everything = [
        "--oidc-issuer-url=https://issuer.example.com/realms/it's",
        "--oidc-client-id=kcp",
        "--oidc-username-claim=sub",
        "--oidc-username-prefix=oidc:",
        "--oidc-groups-claim=roles",
        "--oidc-groups-prefix=oidc:",
        "--oidc-signing-algs=ES256,RS256",
        "--oidc-required-claim=email_verified=true,hd=example.com",
        "--oidc-ca-file=/etc/kcp/tls/oidc/ca.crt",
    ];
    assert_eq!(flags("everything"), [everything; 3]);
    assert_eq!(
        flags("given"),
        [["--authentication-config=/etc/kcp/tls/authentication/config.yaml"]; 3]
    );
    assert_eq!(flags("one-shard"), [[""; 0]; 2]);
}
