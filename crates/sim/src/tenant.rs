//! The workload: what tenants do in their workspaces, chosen by chance, and what they note of it.

use std::sync::Arc;

use env::Rng;
use machinery::object::ObjectExt;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Outcome};
use crate::image::{self, BINDINGS, CRDS, WORKSPACES};
use crate::ledger::{Asked, Begun, End, Ledger, OPERATION};

/// Names that clients fight for.
const NAMES: u64 = 6;
/// Workspaces of one tenant at a time, its home included.
const PLACES_MAX: usize = 4;

/// A resource of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub prefix: &'static str,
    pub version: &'static str,
    pub resource: &'static str,
    pub kind: &'static str,
    /// The group and resource, as keys begin.
    pub key: &'static str,
    content: &'static str,
}

pub const CONFIGMAPS: Api = Api {
    prefix: "/api/v1",
    version: "v1",
    resource: "configmaps",
    kind: "ConfigMap",
    key: "core/configmaps",
    content: "data",
};
pub const WIDGETS: Api = Api {
    prefix: "/apis/example.io/v1",
    version: "example.io/v1",
    resource: "widgets",
    kind: "Widget",
    key: "example.io/widgets",
    content: "spec",
};
pub const GADGETS: Api = Api {
    prefix: "/apis/provider.example/v1",
    version: "provider.example/v1",
    resource: "gadgets",
    kind: "Gadget",
    key: "provider.example/gadgets",
    content: "spec",
};

/// A workspace of a tenant.
#[derive(Clone, Debug)]
struct Place {
    cluster: String,
    /// The cluster that it is a workspace of, and its name there; none for homes.
    parent: Option<(String, String)>,
    /// APIs that were asked for there, besides the built-in ones.
    apis: Vec<&'static str>,
}

/// What the workers of one tenant share.
#[derive(Clone)]
pub struct Territory {
    places: Arc<Mutex<Vec<Place>>>,
    /// Homes of others, where this tenant may nothing.
    foreign: Arc<Vec<String>>,
}

/// One client at work.
pub struct Worker {
    client: Client,
    ledger: Ledger,
    territory: Territory,
}

// === impl Territory ===

impl Territory {
    pub fn new(home: &str, foreign: Vec<String>) -> Self {
        let home = Place {
            cluster: home.to_owned(),
            parent: None,
            apis: vec![WIDGETS.key, GADGETS.key],
        };
        Self {
            places: Arc::new(Mutex::new(vec![home])),
            foreign: Arc::new(foreign),
        }
    }
}

// === impl Worker ===

impl Worker {
    pub fn new(client: Client, ledger: Ledger, territory: Territory) -> Self {
        Self {
            client,
            ledger,
            territory,
        }
    }

    fn rng(&self) -> &Rng {
        &self.client.rng
    }

    /// One thing after the other until `sent` requests have been sent by all clients together.
    pub async fn work(mut self, sent: u64) {
        while self.client.site.sent() < sent && !self.client.site.has_given_up() {
            self.act().await;
            let pause = self.rng().below(140);
            self.client.site.sleep_ms(pause).await;
        }
    }

    async fn act(&mut self) {
        let place = {
            let places = self.territory.places.lock();
            let index = self.rng().below(places.len() as u64);
            let Some(place) = places.get(index as usize) else {
                return;
            };
            place.clone()
        };
        let mut api = match self.rng().below(10) {
            0..=3 => CONFIGMAPS,
            4..=6 => WIDGETS,
            _ => GADGETS,
        };
        // What is not there is asked for now and then all the same.
        if api != CONFIGMAPS && !place.apis.contains(&api.key) && self.rng().chance(0.9) {
            api = CONFIGMAPS;
        }
        let name = format!("o{}", self.rng().below(NAMES));
        match self.rng().below(1000) {
            0..150 => drop(self.get(&place, api, &name).await),
            150..250 => self.list(&place, api).await,
            250..480 => self.create(&place, api, &name).await,
            480..640 => self.update(&place, api, &name).await,
            640..760 => self.patch(&place, api, &name).await,
            760..800 => self.apply(&place, api, &name).await,
            800..915 => self.delete(&place, api, &name).await,
            915..930 => self.trespass(api).await,
            930..950 => self.make_workspace(&place).await,
            950..960 => self.delete_workspace(&place).await,
            960..975 => self.define(&place).await,
            975..990 => self.bind(&place).await,
            _ => self.undefine(&place).await,
        }
    }

    async fn get(&mut self, place: &Place, api: Api, name: &str) -> Option<Value> {
        let floor = self.ledger.floor();
        let Outcome::Answered(answer) = self
            .client
            .call("GET", &object_url(place, api, name), &Value::Null)
            .await
        else {
            return None;
        };
        self.is_of(place, &answer.body);
        let key = key(place, api, name);
        match answer.code {
            200 => {
                let found = revision(&answer.body);
                self.ledger.got(&key, floor, answer.ceiling, found);
                // What was written is read back in the form it was written.
                Some(answer.body)
            }
            404 if is_about(&answer, name) => {
                self.ledger.got(&key, floor, answer.ceiling, None);
                None
            }
            _ => None,
        }
    }

    async fn list(&mut self, place: &Place, api: Api) {
        let limit = [0, 1, 2, 3, 100][self.rng().below(5) as usize];
        let floor = self.ledger.floor();
        let (mut items, mut begun, mut token) = (Vec::new(), None, String::new());
        loop {
            let mut url = list_url(place, api);
            if limit > 0 {
                url.push_str(&format!("?limit={limit}"));
            }
            if !token.is_empty() {
                url.push_str(&format!("&continue={token}"));
            }
            let Outcome::Answered(answer) = self.client.call("GET", &url, &Value::Null).await else {
                return;
            };
            if answer.code != 200 {
                return;
            }
            let page = answer.body["items"].as_array().cloned().unwrap_or_default();
            if limit > 0 && page.len() > limit {
                self.wrong(format!("{url} answers {} items", page.len()));
            }
            for item in &page {
                self.is_of(place, item);
                items.push((key(place, api, item.name()), revision(item).unwrap_or(0)));
            }
            let at = revision(&answer.body).unwrap_or(0);
            if *begun.get_or_insert(at) != at {
                self.wrong(format!("{url} continues a list of {begun:?} at {at}"));
            }
            token = answer.body["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if token.is_empty() {
                break;
            }
        }
        let prefix = key(place, api, "");
        self.ledger.listed(&prefix, floor, begun.unwrap_or(0), items);
    }

    async fn create(&mut self, place: &Place, api: Api, name: &str) {
        let begun = self.ledger.write(&key(place, api, name), Asked::Create);
        let body = object(api, name, begun);
        self.write("POST", &list_url(place, api), &body, begun, place).await;
    }

    /// Reads, changes, and writes back what it read, or fails because somebody was faster.
    async fn update(&mut self, place: &Place, api: Api, name: &str) {
        let Some(mut body) = self.get(place, api, name).await else {
            return;
        };
        let Some(read) = revision(&body) else { return };
        if self.rng().chance(0.3) {
            let pause = self.rng().below(30);
            self.client.site.sleep_ms(pause).await;
        }
        let begun = self.ledger.write(&key(place, api, name), Asked::Update(read));
        body.set_annotation(OPERATION, &begun.id.to_string());
        body.set_at(&[api.content], json!({"last": begun.id.to_string()}));
        self.write("PUT", &object_url(place, api, name), &body, begun, place)
            .await;
    }

    async fn patch(&mut self, place: &Place, api: Api, name: &str) {
        let begun = self.ledger.write(&key(place, api, name), Asked::Patch);
        let id = begun.id.to_string();
        let added = format!("p{id}");
        let body = json!({"metadata": {"annotations": {OPERATION: id}}, api.content: {"last": id, added: id}});
        self.write("PATCH", &object_url(place, api, name), &body, begun, place)
            .await;
    }

    async fn apply(&mut self, place: &Place, api: Api, name: &str) {
        let begun = self.ledger.write(&key(place, api, name), Asked::Apply);
        let url = format!("{}?fieldManager=apply&force=true", object_url(place, api, name));
        let body = object(api, name, begun);
        self.write("PATCH", &url, &body, begun, place).await;
    }

    async fn delete(&mut self, place: &Place, api: Api, name: &str) {
        let begun = self.ledger.write(&key(place, api, name), Asked::Delete);
        self.write("DELETE", &object_url(place, api, name), &Value::Null, begun, place)
            .await;
    }

    /// Asks for what is somebody else's.
    async fn trespass(&mut self, api: Api) {
        let foreign = self.territory.foreign.clone();
        let Some(cluster) = foreign.get(self.rng().below(foreign.len() as u64) as usize) else {
            return;
        };
        let place = Place {
            cluster: cluster.clone(),
            parent: None,
            apis: Vec::new(),
        };
        let (method, url, body) = match self.rng().below(3) {
            0 => ("GET", list_url(&place, api), Value::Null),
            1 => ("GET", object_url(&place, api, "o1"), Value::Null),
            _ => ("DELETE", object_url(&place, api, "o1"), Value::Null),
        };
        if let Outcome::Answered(answer) = self.client.call(method, &url, &body).await
            && !matches!(answer.code, 403 | 429 | 500..)
        {
            self.wrong(format!(
                "{method} {url} of another tenant was answered with {}",
                answer.code
            ));
        }
    }

    async fn make_workspace(&mut self, place: &Place) {
        if self.territory.places.lock().len() >= PLACES_MAX {
            return;
        }
        let name = format!("w{}", self.rng().below(4));
        let begun = self.ledger.write(&workspace_key(place, &name), Asked::Create);
        let mut body = image::workspace(&name);
        body.set_annotation(OPERATION, &begun.id.to_string());
        let url = format!("/clusters/{}{WORKSPACES}", place.cluster);
        if !self.write("POST", &url, &body, begun, place).await {
            return;
        }
        for _ in 0..40 {
            self.client.site.sleep_ms(50).await;
            if let Outcome::Answered(answer) = self.client.call("GET", &format!("{url}/{name}"), &Value::Null).await {
                self.is_of(place, &answer.body);
                if answer.code == 404 {
                    return;
                }
                let ready = answer.body["status"]["phase"] == "Ready";
                if let Some(cluster) = answer.body["spec"]["cluster"].as_str().filter(|_| ready) {
                    let made = Place {
                        cluster: cluster.to_owned(),
                        parent: Some((place.cluster.clone(), name)),
                        apis: Vec::new(),
                    };
                    let mut places = self.territory.places.lock();
                    // Deleted meanwhile with what it is in.
                    let is_orphan = place.parent.is_some() && !places.iter().any(|p| p.cluster == place.cluster);
                    if is_orphan {
                        self.ledger.doom(&format!("/{cluster}/"));
                    } else {
                        places.push(made);
                    }
                    return;
                }
            }
        }
    }

    /// Deletes the workspace that a place is, and all below it.
    async fn delete_workspace(&mut self, place: &Place) {
        let Some((parent, name)) = place.parent.clone() else {
            return;
        };
        {
            let mut places = self.territory.places.lock();
            let mut gone = vec![place.cluster.clone()];
            while let Some(cluster) = gone.pop() {
                self.ledger.doom(&format!("/{cluster}/"));
                places.retain(|other| {
                    let below = other.parent.as_ref().is_some_and(|(of, _)| *of == cluster);
                    if below {
                        gone.push(other.cluster.clone());
                    }
                    other.cluster != cluster && !below
                });
            }
        }
        let above = Place {
            cluster: parent,
            parent: None,
            apis: Vec::new(),
        };
        let begun = self.ledger.write(&workspace_key(&above, &name), Asked::Delete);
        let url = format!("/clusters/{}{WORKSPACES}/{name}", above.cluster);
        self.write("DELETE", &url, &Value::Null, begun, &above).await;
    }

    async fn define(&mut self, place: &Place) {
        self.extend(place, WIDGETS, CRDS, &image::widgets()).await;
    }

    async fn bind(&mut self, place: &Place) {
        self.extend(place, GADGETS, BINDINGS, &image::binding()).await;
    }

    async fn extend(&mut self, place: &Place, api: Api, path: &str, body: &Value) {
        if place.parent.is_none() {
            return;
        }
        let url = format!("/clusters/{}{path}", place.cluster);
        self.client.call("POST", &url, body).await;
        let mut places = self.territory.places.lock();
        if let Some(place) = places.iter_mut().find(|other| other.cluster == place.cluster)
            && !place.apis.contains(&api.key)
        {
            place.apis.push(api.key);
        }
    }

    /// Takes a definition or a binding away, and with it all its objects.
    async fn undefine(&mut self, place: &Place) {
        if place.parent.is_none() {
            return;
        }
        let (api, path) = match self.rng().below(2) {
            0 => (WIDGETS, format!("{CRDS}/widgets.example.io")),
            _ => (GADGETS, format!("{BINDINGS}/gadgets")),
        };
        self.ledger.doom(&format!("{}/{}/", api.key, place.cluster));
        let url = format!("/clusters/{}{path}", place.cluster);
        self.client.call("DELETE", &url, &Value::Null).await;
    }

    /// Sends a write and notes how it ended; true if it was acknowledged.
    async fn write(&mut self, method: &str, url: &str, body: &Value, begun: Begun, place: &Place) -> bool {
        let outcome = self.client.call(method, url, body).await;
        let (end, ceiling) = match &outcome {
            Outcome::Down => (End::Refused, 0),
            Outcome::Lost => (End::Unknown, u64::MAX),
            Outcome::Answered(answer) => {
                let end = match answer.code {
                    200..300 if method == "DELETE" => End::Acknowledged(None),
                    200..300 => End::Acknowledged(revision(&answer.body)),
                    503 if is_definite(&answer.body) => End::Refused,
                    500.. => End::Unknown,
                    _ => End::Refused,
                };
                if method != "DELETE" && answer.code < 300 {
                    self.is_of(place, &answer.body);
                }
                (end, answer.ceiling)
            }
        };
        self.ledger.written(begun, end, ceiling);
        matches!(end, End::Acknowledged(_))
    }

    /// Isolation: whatever an answer holds is of the cluster that was asked.
    fn is_of(&self, place: &Place, object: &Value) {
        if let Some(cluster) = object.annotation("kcp.io/cluster")
            && cluster != place.cluster
        {
            self.wrong(format!(
                "an answer of cluster {} holds an object of {cluster}",
                place.cluster
            ));
        }
    }

    fn wrong(&self, text: String) {
        self.client.site.violation(&self.client.name, text);
    }
}

fn object(api: Api, name: &str, begun: Begun) -> Value {
    let id = begun.id.to_string();
    json!({
        "apiVersion": api.version, "kind": api.kind,
        "metadata": {"name": name, "namespace": "default", "annotations": {OPERATION: id}},
        api.content: {"last": id, "made": id},
    })
}

fn list_url(place: &Place, api: Api) -> String {
    list_url_of(&place.cluster, api)
}

/// Objects of an API in a cluster's namespace `default`.
pub fn list_url_of(cluster: &str, api: Api) -> String {
    format!("/clusters/{cluster}{}/namespaces/default/{}", api.prefix, api.resource)
}

fn object_url(place: &Place, api: Api, name: &str) -> String {
    format!("{}/{name}", list_url(place, api))
}

fn key(place: &Place, api: Api, name: &str) -> String {
    format!("{}/{}/default/{name}", api.key, place.cluster)
}

fn workspace_key(place: &Place, name: &str) -> String {
    format!("tenancy.kcp.io/workspaces/{}/{name}", place.cluster)
}

/// The resourceVersion of an object or a list.
pub fn revision(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// A refusal that says that nothing has happened.
fn is_definite(status: &Value) -> bool {
    let text = status["message"].as_str().unwrap_or_default();
    text.starts_with("the store is full") || text.starts_with("the store is unavailable")
}

/// A 404 that speaks of the object, not of the resource or the cluster.
fn is_about(answer: &Answer, name: &str) -> bool {
    let text = answer.body["message"].as_str().unwrap_or_default();
    text.ends_with(&format!("\"{name}\" not found"))
}
