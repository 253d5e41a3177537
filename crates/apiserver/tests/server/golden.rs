//! The recorded refusals of kcp (`tests/golden`), asked of this server: code, main headers and body must agree.

use serde_json::{Value, json};

use crate::world::{CONSUMER, World};

async fn world() -> World {
    let world = World::new().await;
    world
        .put(
            "root",
            "tenancy.kcp.io",
            "workspaces",
            "",
            json!({"metadata": {"name": "golden"}}),
        )
        .await;
    let widget = json!({"metadata": {"name": "w1"}, "spec": {"size": 1}});
    world.put(CONSUMER, "example.io", "widgets", "default", widget).await;
    world
}

/// What differs for a reason. Everything else is compared as it is.
fn expected(name: &str, mut recorded: Value) -> Value {
    let message = |recorded: &mut Value, text: &str| recorded["body"]["message"] = text.into();
    match name {
        // The revision is the store's.
        "future-resource-version" => message(&mut recorded, "*"),
        // Names the uid that the object happens to have.
        "conflict-uid-precondition" => message(&mut recorded, "*"),
        // kcp warns of the fields of a kind that it then refuses.
        "invalid-api-version" => drop(recorded["headers"].as_object_mut().unwrap().remove("Warning")),
        _ => {}
    }
    recorded
}

fn matches(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (_, Value::String(any)) if any == "*" => true,
        (Value::Object(found), Value::Object(wanted)) => {
            found.len() == wanted.len()
                && wanted
                    .iter()
                    .all(|(key, wanted)| found.get(key).is_some_and(|found| matches(found, wanted)))
        }
        _ => found == wanted,
    }
}

#[tokio::test(start_paused = true)]
async fn law_8_every_error_is_the_status_that_clients_of_kcp_know() {
    let world = world().await;
    let mut client = world.client("").await;
    let mut names: Vec<_> = std::fs::read_dir("tests/golden")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let mut failures = Vec::new();
    for path in &names {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let request = &golden["request"];
        let mut headers: Vec<(&str, &str)> = Vec::new();
        for (key, value) in request["headers"].as_object().into_iter().flatten() {
            headers.push((key, value.as_str().unwrap()));
        }
        let body = match &request["body"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            // The object of the recording had another uid; it is not what the request is about.
            body if name == "conflict-resource-version" => {
                let mut body = body.clone();
                body["metadata"].as_object_mut().unwrap().remove("uid");
                body.to_string()
            }
            body => body.to_string(),
        };
        if !body.is_empty() && !headers.iter().any(|(key, _)| *key == "Content-Type") {
            headers.push(("Content-Type", "application/json"));
        }
        client = client.acting_as(request["as"].as_str().unwrap());
        let (method, uri) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let answer = client.call(method, uri, &headers, body).await;
        let wanted = expected(name, golden["response"].clone());
        let found = serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::String(answer.text()));
        let headers_agree = wanted["headers"].as_object().unwrap().iter().all(|(key, value)| {
            answer
                .headers
                .get_all(key)
                .iter()
                .any(|found| found.to_str().ok() == value.as_str())
        });
        // Of successes (dry runs) times and uids differ; their objects are tested elsewhere.
        let body_agrees = answer.code < 300 || matches(&found, &wanted["body"]);
        if wanted["status"] != answer.code || !headers_agree || !body_agrees {
            let headers = &answer.headers;
            failures.push(format!(
                "{name}\n  wanted {wanted}\n  found  {} {found} {headers:?}",
                answer.code
            ));
        }
    }
    assert!(names.len() >= 50);
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        names.len(),
        failures.join("\n")
    );
}
