//! What `deploy/rendered` holds is what the chart renders now. Needs Helm 3: `HELM=/path/to/helm cargo test -p deploy`;
//! without it these tests say so and pass.

use std::path::Path;
use std::process::{Command, Output};

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

#[test]
fn values_that_do_not_fit_are_refused() {
    let Some(helm) = helm() else { return };
    let host = "externalHostname=kcp.example.com";
    for (values, why) in [
        (vec!["image.tag=x"], "externalHostname"),
        (vec![host, "shards[0].name=alpha"], "must be called root"),
        (vec![host, "shards[0].name=root", "shards[1].name=root"], "there twice"),
        (
            vec![host, "shards[0].name=root", "shards[1].name=Not_A_Name"],
            "pattern",
        ),
        (vec![host, "shards[0].name=root", "shards[0].replica=2"], "replica"),
        (vec![host, "frontProxy.replicas=0"], "minimum"),
        (vec![host, "shardDefaults.store.type=external"], "minItems"),
        (vec![host, "certificates.mode=none"], "certificates"),
        (
            vec![
                host,
                "shards[0].name=root",
                "shards[1].name=alpha",
                "cacheServer.enabled=false",
            ],
            "needs the cache server",
        ),
        (
            vec![
                host,
                "shards[0].name=root",
                "shards[1].name=alpha",
                "shardDefaults.store.type=external",
                "shardDefaults.store.external.endpoints[0]=https://etcd:2379",
            ],
            "shares its etcd",
        ),
    ] {
        let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", *value]).collect();
        let output = template(&helm, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{values:?}: {said}");
    }
}

#[test]
fn dashboards_are_rendered_as_they_are() {
    let Some(helm) = helm() else { return };
    let sets = [
        "--set",
        "externalHostname=x.y",
        "--set",
        "monitoring.dashboards.enabled=true",
    ];
    let output = template(&helm, &sets);
    let manifests = deploy::Manifests::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let dashboard = manifests.get("ConfigMap", "kcp-dashboard-shard").unwrap();
    let kept = std::fs::read_to_string(chart().join("files/dashboards/shard.json")).unwrap();
    assert_eq!(
        dashboard["data"]["kcp-shard.json"].as_str().unwrap().trim_end(),
        kept.trim_end()
    );
}
