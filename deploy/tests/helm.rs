//! What `deploy/rendered` holds is what the chart renders now: it was rendered of these very files, and where there is a Helm 3
//! (`HELM=/path/to/helm cargo test -p deploy`), it is rendered again. Without Helm the tests that need it say so and pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

/// `$HELM`, or nothing.
fn helm() -> Option<std::ffi::OsString> {
    let helm = std::env::var_os("HELM");
    if helm.is_none() {
        eprintln!("not run: $HELM does not name a helm");
    }
    helm
}

fn template(helm: &std::ffi::OsStr, arguments: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command
        .args(["template", "kcp"])
        .arg(chart())
        .args(["--kube-version", "1.33.0"])
        .args(arguments);
    command.output().expect("helm can be started")
}

fn chart() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/kcp")
}

/// `rendered/sources` has a digest of everything that was rendered from, and of what was rendered.
#[test]
fn what_is_kept_was_rendered_from_what_is_there() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut now = BTreeMap::new();
    for (directory, below) in [("charts", "charts/"), ("values", "values/"), ("rendered", "./")] {
        let mut left = vec![home.join(directory)];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path != home.join("rendered/sources") {
                let name = path.strip_prefix(home.join(directory)).unwrap().display().to_string();
                let digest = Sha256::digest(std::fs::read(&path).unwrap());
                now.insert(format!("{below}{name}"), format!("{digest:x}"));
            }
        }
    }
    let kept = std::fs::read_to_string(home.join("rendered/sources")).unwrap();
    let kept: BTreeMap<String, String> = kept
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(digest, name)| (name.to_owned(), digest.to_owned()))
        .collect();
    let names: BTreeSet<&String> = kept.keys().chain(now.keys()).collect();
    for name in names {
        assert_eq!(kept.get(name), now.get(name), "{name} has changed: run deploy/render");
    }
}

#[test]
fn what_is_kept_is_what_is_rendered() {
    let Some(helm) = helm() else { return };
    let into = tempfile::tempdir().unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(home.join("render"))
        .arg(into.path())
        .env("HELM", helm)
        .status()
        .unwrap();
    assert!(status.success());
    for entry in std::fs::read_dir(home.join("rendered")).unwrap() {
        let kept = entry.unwrap().path();
        let now = std::fs::read_to_string(into.path().join(kept.file_name().unwrap())).unwrap();
        assert_eq!(
            std::fs::read_to_string(&kept).unwrap(),
            now,
            "{}: run deploy/render",
            kept.display()
        );
    }
}

/// What a schema cannot say.
#[test]
fn values_that_do_not_fit_together_are_refused() {
    let Some(helm) = helm() else { return };
    let two = ["shards[0].name=root", "shards[1].name=alpha"];
    let external = [
        "shardDefaults.store.type=external",
        "shardDefaults.store.external.endpoints[0]=https://etcd:2379",
    ];
    for (values, why) in [
        (vec!["shards[0].name=alpha"], "must be called root"),
        (vec!["shards[0].name=root", "shards[1].name=root"], "there twice"),
        (
            vec!["shards[0].name=root", "shards[1].name=cache"],
            "the cache server's parts",
        ),
        (
            [&two[..], &["cacheServer.enabled=false"]].concat(),
            "needs the cache server",
        ),
        ([&two[..], &external[..]].concat(), "shares its etcd"),
        (
            vec![
                "fullnameOverride=a-name-of-thirty-eight-characters-long",
                "shards[0].name=root",
                "shards[1].name=sixish",
            ],
            "at most 5 characters",
        ),
    ] {
        let values = [&["externalHostname=kcp.example.com"], &*values].concat();
        let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", *value]).collect();
        let output = template(&helm, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{values:?}: {said}");
    }
}

#[test]
fn dashboards_are_rendered_as_they_are() {
    let manifests = deploy::Manifests::rendered("everything").unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(chart().join("files/dashboards")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_string_lossy();
        let map = manifests
            .get("ConfigMap", &format!("kcp-platform-dashboard-{name}"))
            .unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let rendered = map["data"][format!("kcp-{name}.json")].as_str().unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(rendered).unwrap(),
            kept,
            "{name}"
        );
        count += 1;
    }
    assert_eq!(count, 4);
}
