//! What tests of this module share.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::user::{MASTERS, User};
use permit::{Access, Cluster, Decision, Scope};

use super::{Authorizer, Credentials, Now, Rules};

pub fn at(seconds: i64) -> Now {
    Arc::new(move || seconds)
}

pub fn one(name: &str) -> Scope {
    Scope::One(Cluster::parse(name).unwrap())
}

pub fn bearer<'a>(token: &'a str, headers: &'a http::HeaderMap) -> Credentials<'a> {
    Credentials {
        peer_certificates: &[],
        bearer_token: Some(token),
        headers,
        scope: None,
    }
}

/// Allows system:masters everything, others what is listed as `user verb resource[/subresource] [name]`; `*` for any name.
pub struct Listed(pub Vec<&'static str>);

#[async_trait]
impl Authorizer for Listed {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        if user.in_group(MASTERS) {
            return Decision::allow("masters");
        }
        let what = match (access.is_resource, access.subresource.is_empty()) {
            (false, _) => access.path.clone(),
            (true, true) => access.resource.clone(),
            (true, false) => format!("{}/{}", access.resource, access.subresource),
        };
        let asked = format!("{} {} {what}", user.name, access.verb);
        let named = format!("{asked} {}", access.name);
        let any = format!("{asked} *");
        match self
            .0
            .iter()
            .any(|line| **line == named || **line == any || **line == asked)
        {
            true => Decision::allow("listed"),
            false => Decision::no_opinion("not listed"),
        }
    }

    async fn rules(&self, user: &User, _scope: &Scope, namespace: &str) -> Rules {
        Rules {
            resource: vec![
                serde_json::json!({"verbs": ["get"], "apiGroups": [""], "resources": [user.name, namespace]}),
            ],
            ..Rules::default()
        }
    }
}
