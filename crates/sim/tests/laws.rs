//! The laws of the design that only a whole shard can keep, each tried on one.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sim::client::{Client, Outcome};
use sim::history::History;
use sim::image::{self, ADMIN, Image, TENANTS, WORKSPACES};
use sim::run::runtime;
use sim::scene::Scene;
use sim::server::ServerOptions;

async fn call(client: &mut Client, method: &str, path: &str, body: &Value) -> Value {
    loop {
        match client.call(method, path, body).await {
            Outcome::Answered(answer) if answer.code < 300 => return answer.body,
            Outcome::Answered(answer) if answer.code == 409 && method == "POST" => return answer.body,
            Outcome::Answered(answer) if answer.code == 404 && method == "DELETE" => return answer.body,
            // The server was ended in the middle of it: once more.
            Outcome::Down | Outcome::Lost => {}
            Outcome::Answered(answer) if answer.code >= 500 => {}
            other => panic!("{method} {path}: {other:?}"),
        }
    }
}

/// What there is, without what differs from run to run: names of objects by resource and place, and their phases. Clusters
/// are called by their workspaces' names.
fn shape(history: &History) -> BTreeMap<String, String> {
    let objects = || {
        history.keys("").filter_map(|key| {
            let version = history.at(key, u64::MAX)?;
            let object: Value = serde_json::from_slice(version.value.as_ref()?).ok()?;
            Some((key, object))
        })
    };
    let workspaces: Vec<(String, String)> = objects()
        .filter(|(key, _)| key.starts_with("tenancy.kcp.io/workspaces/"))
        .filter_map(|(key, object)| {
            let cluster = object["spec"]["cluster"].as_str()?;
            Some((cluster.to_owned(), key.rsplit('/').next()?.to_owned()))
        })
        .collect();
    let mut shape = BTreeMap::new();
    for (key, object) in objects().filter(|(key, _)| !key.starts_with('/')) {
        let name = workspaces
            .iter()
            .fold(key.to_owned(), |key, (cluster, name)| key.replace(cluster, name));
        // Names that the server makes up.
        let name = match object["metadata"]["generateName"].as_str() {
            Some(prefix) => name.replace(object["metadata"]["name"].as_str().unwrap_or("?"), prefix),
            None => name,
        };
        let finalizers = object["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        shape.insert(name, format!("{phase} {finalizers}"));
    }
    shape
}

/// Makes a workspace and deletes another, with the process killed after so many effects of controllers.
async fn crash_after(effects: u64, image: &Image) -> (BTreeMap<String, String>, u64) {
    let mut scene = Scene::new(7, image);
    let reaper = scene.start(ServerOptions::default()).await.unwrap();
    scene.settle().await.unwrap();
    let mut client = scene.client("ada", TENANTS[0]);
    let url = format!("/clusters/{}{WORKSPACES}", image.homes[0]);
    call(&mut client, "POST", &url, &image::workspace("old")).await;
    scene.settle().await.unwrap();
    if effects > 0 {
        reaper.end_after_effects(effects);
    }
    call(&mut client, "POST", &url, &image::workspace("new")).await;
    call(&mut client, "DELETE", &format!("{url}/old"), &Value::Null).await;
    scene
        .settle()
        .await
        .unwrap_or_else(|text| panic!("after a crash behind effect {effects}: {text}"));
    let crashes = scene.world.faults().of("controllers/crashed between effects");
    assert_eq!(scene.site.violations(), Vec::<String>::new());
    (shape(&scene.history.lock()), crashes)
}

/// Wherever the controllers are stopped, what is left of the work is done by the next process, and comes to the same.
#[test]
fn law_6_a_crash_behind_any_effect_leads_to_the_same() {
    let image = runtime().block_on(Image::make()).unwrap();
    let (expected, _) = runtime().block_on(crash_after(0, &image));
    assert!(expected.keys().any(|key| key.ends_with("/new")), "{expected:#?}");
    assert!(!expected.keys().any(|key| key.contains("/old")), "{expected:#?}");
    let mut tried = 0;
    for effects in 1.. {
        let (shape, crashes) = runtime().block_on(crash_after(effects, &image));
        if crashes == 0 {
            break;
        }
        tried += 1;
        assert_eq!(shape, expected, "after a crash behind effect {effects}");
    }
    assert!(tried >= 10, "only {tried} effects to crash behind");
    eprintln!("crashed behind each of {tried} effects");
}

/// Many clusters that define the same, or bind the same, hold one definition.
#[test]
fn law_4_equal_definitions_are_held_once() {
    runtime().block_on(async {
        let image = Image::make().await.unwrap();
        let mut scene = Scene::new(1, &image);
        scene.start(ServerOptions::default()).await.unwrap();
        scene.settle().await.unwrap();
        let cached = || scene.site.server().unwrap().shard.definitions.cached();
        let mut client = scene.client("admin", ADMIN);
        let mut counts = Vec::new();
        for round in 0..3 {
            for index in 0..4 {
                let name = format!("w{round}-{index}");
                let root = format!("/clusters/root{WORKSPACES}");
                call(&mut client, "POST", &root, &image::workspace(&name)).await;
                scene.settle().await.unwrap();
                let of = |path: &str| format!("/clusters/root:{name}{path}");
                call(&mut client, "POST", &of(image::CRDS), &image::widgets()).await;
                call(&mut client, "POST", &of(image::BINDINGS), &image::binding()).await;
                scene.settle().await.unwrap();
                for (api, kind) in [
                    ("example.io/v1/widgets", "Widget"),
                    ("provider.example/v1/gadgets", "Gadget"),
                ] {
                    let (version, plural) = api.rsplit_once('/').unwrap();
                    let path = of(&format!("/apis/{version}/namespaces/default/{plural}"));
                    let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "one"}});
                    call(&mut client, "POST", &path, &object).await;
                }
            }
            counts.push(cached());
        }
        let [first, second, third] = counts[..] else {
            unreachable!()
        };
        assert_eq!((second.0, third.0), (first.0, first.0), "schemas");
        // A cluster's own definition has a hash of its own (kcp hashes the cluster's name into storageVersionHash), so it is
        // a definition of its own, without a schema; bound ones are shared.
        assert_eq!((second.1, third.1), (first.1 + 4, first.1 + 8), "definitions");
    });
}
