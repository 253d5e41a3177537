//! A server and a kubeconfig for tests: answers by method and path, and what was asked in order.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use env::Env;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::connection::{Connect, Target};
use crate::kubeconfig::Kubeconfig;
use crate::output::Console;
use crate::server::{Answer, Request, Server};
use crate::session::{Overrides, Session};

/// Answers each path from a list, the last one again and again; 404 for others.
#[derive(Default)]
pub struct Script {
    answers: Mutex<BTreeMap<String, Vec<(u16, Value)>>>,
    pub asked: Mutex<Vec<String>>,
    pub bodies: Mutex<Vec<Value>>,
}

#[derive(Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

struct Scripted(Arc<Script>);

pub struct Fixture {
    pub script: Arc<Script>,
    pub out: Buffer,
    pub err: Buffer,
    pub session: Session,
    _dir: tempfile::TempDir,
}

impl Script {
    pub fn on(&self, request: &str, code: u16, body: Value) {
        self.answers
            .lock()
            .entry(request.to_owned())
            .or_default()
            .push((code, body));
    }
}

impl Buffer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Server for Scripted {
    async fn send(&self, request: &Request) -> Result<Answer, String> {
        let asked = format!("{} {}", request.method, request.path);
        self.0.asked.lock().push(asked.clone());
        self.0.bodies.lock().extend(request.body.clone());
        let mut answers = self.0.answers.lock();
        let (code, body) = match answers.get_mut(&asked) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => (404, Value::Null),
        };
        let body = match body {
            Value::String(page) => page.into_bytes(),
            object => object.to_string().into_bytes(),
        };
        Ok(Answer {
            code,
            body,
            // Whoever is asked to come again comes at once.
            retry_after: (code == 429 || code >= 500).then_some(0),
        })
    }
}

#[async_trait::async_trait]
impl Connect for Scripted {
    async fn connect(&self, _: &Target) -> Result<Arc<dyn Server>, String> {
        Ok(Arc::new(Scripted(self.0.clone())))
    }
}

impl Fixture {
    /// A session in the workspace `at`.
    pub fn at(at: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config");
        let config = json!({
            "current-context": "base",
            "clusters": [{"name": "base", "cluster": {"server": format!("https://h:1/clusters/{at}")}}],
            "contexts": [{"name": "base", "context": {"cluster": "base"}}],
        });
        let kubeconfig = Kubeconfig::parse(vec![(path, Some(config.to_string().into_bytes()))]).expect("valid");
        let (script, out, err) = (Arc::new(Script::default()), Buffer::default(), Buffer::default());
        let session = Session {
            env: Env::real(),
            console: Console::new(out.clone(), err.clone()),
            kubeconfig,
            overrides: Overrides::default(),
            home: Some("/home/u".to_owned()),
            connect: Arc::new(Scripted(script.clone())),
        };
        Self {
            script,
            out,
            err,
            session,
            _dir: dir,
        }
    }

    pub fn asked(&self) -> Vec<String> {
        self.script.asked.lock().clone()
    }

    /// Serves a workspace: discovery and an empty list of bindings.
    pub fn serve(&self, path: &str) {
        self.script
            .on(&format!("GET /clusters/{path}/api"), 200, json!({"versions": ["v1"]}));
        self.script.on(
            &format!("GET /clusters/{path}/apis"),
            200,
            json!({"groups": [{"name": "g"}]}),
        );
        let bindings = format!("GET /clusters/{path}/apis/apis.kcp.io/v1alpha2/apibindings");
        self.script.on(&bindings, 200, json!({"items": []}));
    }
}
