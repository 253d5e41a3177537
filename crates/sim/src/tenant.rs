//! The workload: what tenants do in their workspaces, chosen by chance, and what they note of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keys::annotation;
use env::Rng;
use machinery::object::ObjectExt;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Outcome, Site};
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

/// A shard, as who works in its clusters knows it.
#[derive(Clone)]
pub struct Holder {
    pub ledger: Ledger,
    /// Its store's newest revision: no answer shows a later one.
    pub revision: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// All shards by name.
pub type Holders = Arc<BTreeMap<String, Holder>>;

/// A workspace of a tenant.
#[derive(Clone)]
pub struct Place {
    pub cluster: String,
    /// The path to it, where requests go by paths too.
    pub path: Option<String>,
    /// The shard that holds it.
    pub holder: Holder,
    /// The place that it is a workspace of, and its name there; none for homes.
    pub parent: Option<(Box<Place>, String)>,
    /// APIs that were asked for there, besides the built-in ones.
    apis: Vec<&'static str>,
    /// The view that it is seen through, as URLs begin; none: it is a tenant's own.
    view: Option<String>,
}

/// What the workers of one tenant share.
#[derive(Clone)]
pub struct Territory {
    places: Arc<Mutex<Vec<Place>>>,
    /// Homes of others, where this tenant may nothing.
    foreign: Arc<Vec<String>>,
    holders: Holders,
    /// How often a workspace was asked for, by the cluster it is in and its name.
    asked_for: Arc<Mutex<BTreeMap<(String, String), u64>>>,
}

/// One client at work, with a connection to every server that it may turn to.
pub struct Worker {
    clients: Vec<Client>,
    territory: Territory,
}

// === impl Place ===

impl Place {
    /// Where a tenant begins.
    pub fn home(cluster: &str, path: Option<String>, holder: Holder) -> Self {
        Self {
            cluster: cluster.to_owned(),
            path,
            holder,
            parent: None,
            apis: vec![WIDGETS.key, GADGETS.key],
            view: None,
        }
    }

    /// Somebody's home, as the provider of an API that is used there sees it.
    pub fn viewed(cluster: &str, holder: Holder, view: String) -> Self {
        Self {
            view: Some(view),
            ..Self::home(cluster, None, holder)
        }
    }

    /// What stands for it in URLs: its name, or the path to it.
    fn segment(&self, rng: &Rng) -> String {
        match &self.path {
            Some(path) if rng.chance(0.5) => path.clone(),
            _ => self.cluster.clone(),
        }
    }

    /// A workspace in it, made by somebody.
    fn below(&self, name: &str, cluster: &str, holder: Holder) -> Self {
        Self {
            cluster: cluster.to_owned(),
            path: self.path.as_ref().map(|path| format!("{path}:{name}")),
            holder,
            parent: Some((Box::new(self.clone()), name.to_owned())),
            apis: Vec::new(),
            view: None,
        }
    }
}

// === impl Territory ===

impl Territory {
    pub fn new(home: Place, foreign: Vec<String>, holders: Holders) -> Self {
        Self::of(vec![home], foreign, holders)
    }

    pub fn of(places: Vec<Place>, foreign: Vec<String>, holders: Holders) -> Self {
        Self {
            places: Arc::new(Mutex::new(places)),
            foreign: Arc::new(foreign),
            holders,
            asked_for: Arc::default(),
        }
    }

    /// Whether a place is there, as far as this tenant has it: who deletes one takes it out first.
    fn has(&self, place: &Place) -> bool {
        place.parent.is_none() || self.places.lock().iter().any(|other| other.cluster == place.cluster)
    }

    fn attempts(&self, place: &Place, name: &str) -> u64 {
        let key = (place.cluster.clone(), name.to_owned());
        self.asked_for.lock().get(&key).copied().unwrap_or_default()
    }

    /// Takes out a place and all below it.
    fn take_out(&self, place: &Place) {
        let mut places = self.places.lock();
        let mut gone = vec![place.cluster.clone()];
        while let Some(cluster) = gone.pop() {
            for holder in self.holders.values() {
                holder.ledger.doom(&format!("/{cluster}/"));
            }
            places.retain(|other| {
                let below = other.parent.as_ref().is_some_and(|(of, _)| of.cluster == cluster);
                if below {
                    gone.push(other.cluster.clone());
                }
                other.cluster != cluster && !below
            });
        }
    }
}

// === impl Worker ===

impl Worker {
    pub fn new(clients: Vec<Client>, territory: Territory) -> Self {
        assert!(!clients.is_empty(), "nobody to turn to");
        Self { clients, territory }
    }

    fn rng(&self) -> &Rng {
        &self.clients[0].rng
    }

    fn site(&self) -> &Site {
        &self.clients[0].site
    }

    /// Asks whichever server.
    async fn call(&mut self, method: &str, path: &str, body: &Value) -> Outcome {
        let at = match self.clients.len() as u64 {
            1 => 0,
            servers => self.rng().below(servers) as usize,
        };
        self.clients[at].call(method, path, body).await
    }

    /// One thing after the other until `sent` requests have been sent by all clients together.
    pub async fn work(mut self, sent: u64) {
        while self.site().sent() < sent && !self.site().has_given_up() {
            self.act().await;
            let pause = self.rng().below(140);
            self.site().sleep_ms(pause).await;
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
        // A view shows objects, and of one API.
        let most = if place.view.is_some() { 915 } else { 1000 };
        if place.view.is_some() {
            api = GADGETS;
        }
        match self.rng().below(most) {
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
        let floor = place.holder.ledger.floor();
        let url = self.object_url(place, api, name);
        let Outcome::Answered(answer) = self.call("GET", &url, &Value::Null).await else {
            return None;
        };
        let ceiling = (place.holder.revision)();
        self.is_of(place, &answer.body);
        let key = key(place, api, name);
        match answer.code {
            200 => {
                let found = revision(&answer.body);
                place.holder.ledger.got(&key, floor, ceiling, found);
                // What was written is read back in the form it was written.
                Some(answer.body)
            }
            404 if is_about(&answer, name) => {
                place.holder.ledger.got(&key, floor, ceiling, None);
                None
            }
            _ => None,
        }
    }

    async fn list(&mut self, place: &Place, api: Api) {
        let limit = [0, 1, 2, 3, 100][self.rng().below(5) as usize];
        let floor = place.holder.ledger.floor();
        let (mut items, mut begun, mut token) = (Vec::new(), None, String::new());
        let base = self.list_url(place, api);
        loop {
            let mut url = base.clone();
            if limit > 0 {
                url.push_str(&format!("?limit={limit}"));
            }
            if !token.is_empty() {
                url.push_str(&format!("&continue={token}"));
            }
            let Outcome::Answered(answer) = self.call("GET", &url, &Value::Null).await else {
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
        place.holder.ledger.listed(&prefix, floor, begun.unwrap_or(0), items);
    }

    async fn create(&mut self, place: &Place, api: Api, name: &str) {
        let begun = place.holder.ledger.write(&key(place, api, name), Asked::Create);
        let body = object(api, name, begun);
        let url = self.list_url(place, api);
        self.write("POST", &url, &body, begun, place).await;
    }

    /// Reads, changes, and writes back what it read, or fails because somebody was faster.
    async fn update(&mut self, place: &Place, api: Api, name: &str) {
        let Some(mut body) = self.get(place, api, name).await else {
            return;
        };
        let Some(read) = revision(&body) else { return };
        if self.rng().chance(0.3) {
            let pause = self.rng().below(30);
            self.site().sleep_ms(pause).await;
        }
        let begun = place.holder.ledger.write(&key(place, api, name), Asked::Update(read));
        body.set_annotation(OPERATION, &begun.id.to_string());
        body.set_at(&[api.content], json!({"last": begun.id.to_string()}));
        let url = self.object_url(place, api, name);
        self.write("PUT", &url, &body, begun, place).await;
    }

    async fn patch(&mut self, place: &Place, api: Api, name: &str) {
        let begun = place.holder.ledger.write(&key(place, api, name), Asked::Patch);
        let id = begun.id.to_string();
        let added = format!("p{id}");
        let body = json!({"metadata": {"annotations": {OPERATION: id}}, api.content: {"last": id, added: id}});
        let url = self.object_url(place, api, name);
        self.write("PATCH", &url, &body, begun, place).await;
    }

    async fn apply(&mut self, place: &Place, api: Api, name: &str) {
        let begun = place.holder.ledger.write(&key(place, api, name), Asked::Apply);
        let url = format!("{}?fieldManager=apply&force=true", self.object_url(place, api, name));
        let body = object(api, name, begun);
        self.write("PATCH", &url, &body, begun, place).await;
    }

    async fn delete(&mut self, place: &Place, api: Api, name: &str) {
        let begun = place.holder.ledger.write(&key(place, api, name), Asked::Delete);
        let url = self.object_url(place, api, name);
        self.write("DELETE", &url, &Value::Null, begun, place).await;
    }

    /// Asks for what is somebody else's.
    async fn trespass(&mut self, api: Api) {
        let foreign = self.territory.foreign.clone();
        let Some(cluster) = foreign.get(self.rng().below(foreign.len() as u64) as usize) else {
            return;
        };
        let base = list_url_of(cluster, api);
        let (method, url) = match self.rng().below(3) {
            0 => ("GET", base),
            1 => ("GET", format!("{base}/o1")),
            _ => ("DELETE", format!("{base}/o1")),
        };
        let body = Value::Null;
        if let Outcome::Answered(answer) = self.call(method, &url, &body).await
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
        let begun = place.holder.ledger.write(&workspace_key(place, &name), Asked::Create);
        let mut body = image::workspace(&name);
        body.set_annotation(OPERATION, &begun.id.to_string());
        self.choose_shard(&mut body);
        let url = format!("/clusters/{}{WORKSPACES}", place.segment(self.rng()));
        let attempt = (place.cluster.clone(), name.clone());
        *self.territory.asked_for.lock().entry(attempt).or_default() += 1;
        if !self.write("POST", &url, &body, begun, place).await {
            return;
        }
        for _ in 0..40 {
            self.site().sleep_ms(50).await;
            if let Outcome::Answered(answer) = self.call("GET", &format!("{url}/{name}"), &Value::Null).await {
                self.is_of(place, &answer.body);
                if answer.code == 404 {
                    return;
                }
                if answer.body["status"]["phase"] == "Ready" {
                    return self.enter_workspace(place, &name, &answer.body).await;
                }
            }
        }
    }

    /// Where there are several shards, which one is to hold a workspace is the tenant's choice, or the scheduler's.
    fn choose_shard(&self, workspace: &mut Value) {
        let shards = self.territory.holders.len() as u64;
        if shards < 2 || self.rng().chance(0.3) {
            return;
        }
        let at = self.rng().below(shards) as usize;
        if let Some(shard) = self.territory.holders.keys().nth(at) {
            workspace.set_at(
                &["spec", "location"],
                json!({"selector": {"matchLabels": {"name": shard}}}),
            );
        }
    }

    async fn enter_workspace(&mut self, place: &Place, name: &str, workspace: &Value) {
        let Some(cluster) = workspace["spec"]["cluster"].as_str() else {
            return self.wrong(format!(
                "workspace {name} in {} is Ready without a cluster",
                place.cluster
            ));
        };
        let shard = workspace.annotation(annotation::SHARD).unwrap_or_default();
        let Some(holder) = self.territory.holders.get(shard).cloned() else {
            return self.wrong(format!("workspace {name} in {} is on shard {shard:?}", place.cluster));
        };
        let made = place.below(name, cluster, holder);
        self.check_entrance(place, &made).await;
        // Deleted meanwhile with what it is in.
        if !self.territory.has(place) {
            for holder in self.territory.holders.values() {
                holder.ledger.doom(&format!("/{cluster}/"));
            }
            return;
        }
        self.territory.places.lock().push(made);
    }

    /// Whoever has seen that a workspace is Ready gets in, through any server, by its path and by its cluster's name: in either
    /// order, because what the one has led to is known to the other.
    async fn check_entrance(&mut self, parent: &Place, made: &Place) {
        let Some(path) = &made.path else { return };
        let mut segments = [path.as_str(), made.cluster.as_str()];
        if self.rng().chance(0.5) {
            segments.reverse();
        }
        for at in 0..self.clients.len() {
            for segment in segments {
                let url = list_url_of(segment, CONFIGMAPS);
                let outcome = self.clients[at].call("GET", &url, &Value::Null).await;
                if let Outcome::Answered(answer) = outcome
                    && matches!(answer.code, 300..429)
                    && self.territory.has(parent)
                {
                    let text = format!("{path} is Ready, and GET {url} is answered with {}", answer.code);
                    self.clients[at].site.violation(&self.clients[at].name, text);
                }
            }
        }
    }

    /// Deletes the workspace that a place is, and all below it.
    async fn delete_workspace(&mut self, place: &Place) {
        let Some((above, name)) = place.parent.clone() else {
            return;
        };
        self.territory.take_out(place);
        let begun = above.holder.ledger.write(&workspace_key(&above, &name), Asked::Delete);
        let url = format!("/clusters/{}{WORKSPACES}/{name}", above.segment(self.rng()));
        let deleted = self.write("DELETE", &url, &Value::Null, begun, &above).await;
        if !deleted || place.path.is_none() || self.rng().chance(0.5) {
            return;
        }
        for _ in 0..40 {
            self.site().sleep_ms(50).await;
            let attempts = self.territory.attempts(&above, &name);
            if let Outcome::Answered(answer) = self.call("GET", &url, &Value::Null).await
                && answer.code == 404
                && is_about(&answer, &name)
            {
                return self.check_absence(place, &above, &name, attempts).await;
            }
        }
    }

    /// Whoever has seen that a workspace is gone finds that its path and its cluster's name are nothing, through any server.
    async fn check_absence(&mut self, place: &Place, above: &Place, name: &str, attempts: u64) {
        let path = place.path.clone().unwrap_or_default();
        let unknown = format!("{}:nowhere", above.path.clone().unwrap_or_default());
        for at in 0..self.clients.len() {
            for (gone, nothing) in [(path.as_str(), unknown.as_str()), (&place.cluster, "0nowhere0nowhere")] {
                let told = self.look_at(at, gone).await;
                let expected = self.look_at(at, nothing).await;
                let (Some(told), Some(expected)) = (told, expected) else {
                    continue;
                };
                let is_made_again = self.territory.attempts(above, name) != attempts || !self.territory.has(above);
                if told != expected && !(is_made_again && gone == path) {
                    let text =
                        format!("{gone} is gone, and answered with {told:?} where {nothing} is with {expected:?}");
                    self.clients[at].site.violation(&self.clients[at].name, text);
                }
            }
        }
    }

    /// What somebody is told of a place that is called so, without that name. None: nobody can say now.
    async fn look_at(&mut self, server: usize, segment: &str) -> Option<(u16, String)> {
        let url = list_url_of(segment, CONFIGMAPS);
        match self.clients[server].call("GET", &url, &Value::Null).await {
            Outcome::Answered(answer) if answer.code != 429 && answer.code < 500 => {
                let text = answer.body["message"].as_str().unwrap_or_default();
                Some((answer.code, text.replace(segment, "<place>")))
            }
            _ => None,
        }
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
        let url = format!("/clusters/{}{path}", place.segment(self.rng()));
        self.call("POST", &url, body).await;
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
        place.holder.ledger.doom(&format!("{}/{}/", api.key, place.cluster));
        let url = format!("/clusters/{}{path}", place.cluster);
        self.call("DELETE", &url, &Value::Null).await;
    }

    /// Sends a write and notes how it ended; true if it was acknowledged.
    async fn write(&mut self, method: &str, url: &str, body: &Value, begun: Begun, place: &Place) -> bool {
        let outcome = self.call(method, url, body).await;
        let newest = (place.holder.revision)();
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
                (end, newest)
            }
        };
        place.holder.ledger.written(begun, end, ceiling);
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
        self.site().violation(&self.clients[0].name, text);
    }

    fn list_url(&self, place: &Place, api: Api) -> String {
        let url = list_url_of(&place.segment(self.rng()), api);
        match &place.view {
            Some(view) => format!("{view}{url}"),
            None => url,
        }
    }

    fn object_url(&self, place: &Place, api: Api, name: &str) -> String {
        format!("{}/{name}", self.list_url(place, api))
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

/// Objects of an API in a cluster's namespace `default`.
pub fn list_url_of(cluster: &str, api: Api) -> String {
    format!("/clusters/{cluster}{}/namespaces/default/{}", api.prefix, api.resource)
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
