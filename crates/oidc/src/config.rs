//! One issuer and what its tokens say of users: `jwt[]` of Kubernetes' AuthenticationConfiguration, and whatever has its form.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Uri;
use machinery::cel::{CALL_COST_MAX, Free, Yield};
use serde_json::Value;

use crate::key_set::Algorithm;

/// Valid as it stands.
#[derive(Clone, Debug)]
pub struct JwtAuthenticator {
    /// As tokens name it: an https URL.
    pub issuer: String,
    /// Where its configuration is, if not below the issuer's URL.
    pub discovery: Option<String>,
    /// PEM. `None`: the system's.
    pub authorities: Option<Vec<u8>>,
    /// A token is for one of these.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub username: Mapping,
    pub groups: Option<Mapping>,
    pub uid: Option<Mapping>,
    pub extra: Vec<ExtraMapping>,
    /// Of claims.
    pub rules: Vec<Rule>,
    /// Of the user that they make.
    pub user_rules: Vec<Rule>,
}

/// Where a part of a user comes from.
#[derive(Clone, Debug)]
pub enum Mapping {
    Claim { claim: String, prefix: String },
    Expression(Expression),
}

#[derive(Clone, Debug)]
pub struct ExtraMapping {
    pub key: String,
    pub value: Expression,
}

/// What has to hold.
#[derive(Clone, Debug)]
pub enum Rule {
    Claim { claim: String, required: String },
    Expression { expression: Expression, message: String },
}

/// CEL over `claims` or `user`.
#[derive(Clone, Debug)]
pub struct Expression {
    source: String,
    program: Arc<Free>,
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct ConfigError {
    pub at: String,
    pub why: String,
}

/// A place within the document.
#[derive(Clone, Copy)]
struct Field<'v> {
    value: &'v Value,
    parent: &'v str,
    name: &'v str,
}

const USER_FIELDS: [&str; 4] = ["username", "uid", "groups", "extra"];
type Found<T> = Result<T, ConfigError>;

// === impl ConfigError ===

impl ConfigError {
    pub fn new(at: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            why: why.into(),
        }
    }

    /// The same, further within.
    #[must_use]
    pub fn below(mut self, parent: &str) -> Self {
        self.at = if parent.is_empty() {
            self.at
        } else {
            format!("{parent}.{}", self.at)
        };
        self
    }
}

// === impl JwtAuthenticator ===

impl JwtAuthenticator {
    /// Reads and checks one entry of `jwt`. Tokens may be signed by every algorithm there is, as Kubernetes has it where
    /// issuers are configured this way. `disallowed`: issuers that are the server's own.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(entry: &Value, disallowed: &[String]) -> Found<Self> {
        let top = Field::top(entry);
        top.knows(&["issuer", "claimValidationRules", "claimMappings", "userValidationRules"])?;
        let issuer = top.get("issuer");
        issuer.knows(&[
            "url",
            "discoveryURL",
            "certificateAuthority",
            "audiences",
            "audienceMatchPolicy",
            "egressSelectorType",
        ])?;
        let mappings = top.get("claimMappings");
        mappings.knows(&["username", "groups", "uid", "extra"])?;
        let config = Self {
            issuer: issuer_url(issuer, disallowed)?,
            discovery: discovery_url(issuer)?,
            authorities: issuer.get("certificateAuthority").text()?.map(String::into_bytes),
            audiences: audiences(issuer)?,
            algorithms: Algorithm::ALL.to_vec(),
            username: mapping(mappings.get("username"), true)?
                .ok_or_else(|| mappings.get("username").wrong("claim or expression is required"))?,
            groups: mapping(mappings.get("groups"), true)?,
            uid: mapping(mappings.get("uid"), false)?,
            extra: extra(mappings.get("extra"))?,
            rules: claim_rules(top.get("claimValidationRules"))?,
            user_rules: user_rules(top.get("userValidationRules"))?,
        };
        config.check_email().map(|()| config)
    }

    /// Whether claims are looked at by expressions.
    pub(crate) fn has_expressions(&self) -> bool {
        let is_expression = |mapping: &Mapping| matches!(mapping, Mapping::Expression(_));
        is_expression(&self.username)
            || [&self.groups, &self.uid].into_iter().flatten().any(is_expression)
            || !self.extra.is_empty()
            || self.rules.iter().any(|rule| matches!(rule, Rule::Expression { .. }))
    }

    /// Who is named by an address has to own it.
    fn check_email(&self) -> Found<()> {
        let names = |expression: &Expression, field: &str| expression.program.fields().contains(field);
        let Mapping::Expression(username) = &self.username else {
            return Ok(());
        };
        let in_rules = self.rules.iter().filter_map(|rule| match rule {
            Rule::Expression { expression, .. } => Some(expression),
            Rule::Claim { .. } => None,
        });
        let mut looking = std::iter::once(username)
            .chain(self.extra.iter().map(|mapping| &mapping.value))
            .chain(in_rules);
        match names(username, "email") && !looking.any(|expression| names(expression, "email_verified")) {
            false => Ok(()),
            true => Err(ConfigError::new(
                "claimMappings.username.expression",
                "claims.email_verified must be used in claimMappings.username.expression or \
                 claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
                 claimMappings.username.expression",
            )),
        }
    }
}

fn issuer_url(issuer: Field<'_>, disallowed: &[String]) -> Found<String> {
    let field = issuer.get("url");
    let url = field.text()?.ok_or_else(|| field.wrong("it is required"))?;
    if disallowed.contains(&url) {
        return Err(field.wrong(&format!(
            "URL must not overlap with disallowed issuers: {}",
            disallowed.join(", ")
        )));
    }
    check_url(&url).map_err(|why| field.wrong(why))?;
    Ok(url)
}

fn discovery_url(issuer: Field<'_>) -> Found<Option<String>> {
    let field = issuer.get("discoveryURL");
    let Some(url) = field.text()? else { return Ok(None) };
    if issuer
        .get("url")
        .text()?
        .is_some_and(|own| own.trim_end_matches('/') == url.trim_end_matches('/'))
    {
        return Err(field.wrong("discoveryURL must be different from URL"));
    }
    check_url(&url).map_err(|why| field.wrong(why))?;
    Ok(Some(url))
}

/// Kubernetes' rules for URLs of issuers.
pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    if url.contains('#') {
        return Err("URL must not contain a fragment");
    }
    let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
    if uri.scheme_str() != Some("https") {
        return Err("URL scheme must be https");
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err("URL must not contain a username or password");
    }
    match uri.query() {
        Some(query) if !query.is_empty() => Err("URL must not contain a query"),
        _ => Ok(()),
    }
}

fn audiences(issuer: Field<'_>) -> Found<Vec<String>> {
    let field = issuer.get("audiences");
    let audiences = field.texts()?;
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        return Err(field.wrong("at least one is required, and none may be empty"));
    }
    if audiences.iter().collect::<BTreeSet<_>>().len() < audiences.len() {
        return Err(field.wrong("one is there twice"));
    }
    let policy = issuer.get("audienceMatchPolicy");
    match (audiences.len(), policy.text()?.as_deref()) {
        (_, Some("MatchAny")) | (1, None) => {}
        (1, Some(_)) => return Err(policy.wrong("audienceMatchPolicy must be empty or MatchAny for single audience")),
        _ => return Err(policy.wrong("audienceMatchPolicy must be MatchAny for multiple audiences")),
    }
    let egress = issuer.get("egressSelectorType");
    match egress.text()? {
        None => Ok(audiences),
        Some(_) => Err(egress.wrong("there are no egress selectors here")),
    }
}

/// `with_prefix`: what a claim says stands behind a prefix, which has to be said.
fn mapping(field: Field<'_>, with_prefix: bool) -> Found<Option<Mapping>> {
    let known: &[&str] = if with_prefix {
        &["claim", "prefix", "expression"]
    } else {
        &["claim", "expression"]
    };
    field.knows(known)?;
    let prefix = match field.get("prefix").value {
        Value::Null => None,
        Value::String(prefix) => Some(prefix.clone()),
        _ => return Err(field.get("prefix").wrong("it is no text")),
    };
    match (field.get("claim").text()?, field.get("expression").text()?) {
        (Some(_), Some(_)) => Err(field.wrong("claim and expression can't both be set")),
        (None, None) => Ok(None),
        (None, Some(_)) if prefix.is_some() => {
            Err(field.get("prefix").wrong("may not be specified when expression is set"))
        }
        (None, Some(source)) => {
            Expression::compile(field.get("expression"), source, "claims").map(|found| Some(Mapping::Expression(found)))
        }
        (Some(_), None) if with_prefix && prefix.is_none() => Err(field
            .get("prefix")
            .wrong("prefix is required when claim is set. It can be set to an empty string to disable prefixing")),
        (Some(claim), None) => Ok(Some(Mapping::Claim {
            claim,
            prefix: prefix.unwrap_or_default(),
        })),
    }
}

fn extra(field: Field<'_>) -> Found<Vec<ExtraMapping>> {
    let mut found: Vec<ExtraMapping> = Vec::new();
    for (name, entry) in field.entries()? {
        let field = field.entry(&name, entry);
        field.knows(&["key", "valueExpression"])?;
        let place = field.get("key");
        let key = place.text()?.ok_or_else(|| place.wrong("it is required"))?;
        let (domain, path) = key.split_once('/').unwrap_or((&key, ""));
        if path.is_empty() || !machinery::names::dns1123_subdomain(domain).is_empty() {
            return Err(place.wrong("must be a domain-prefixed path (such as \"acme.io/foo\")"));
        }
        if key.chars().any(char::is_uppercase) {
            return Err(place.wrong("must be lowercase"));
        }
        let is_reserved = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
        if is_reserved("kubernetes.io") || is_reserved("k8s.io") {
            return Err(place.wrong("k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"));
        }
        if found.iter().any(|other| other.key == key) {
            return Err(place.wrong("it is there twice"));
        }
        let place = field.get("valueExpression");
        let source = place.text()?.ok_or_else(|| place.wrong("it is required"))?;
        let value = Expression::compile(place, source, "claims")?;
        found.push(ExtraMapping { key, value });
    }
    Ok(found)
}

fn claim_rules(field: Field<'_>) -> Found<Vec<Rule>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, entry) in field.entries()? {
        let field = field.entry(&name, entry);
        field.knows(&["claim", "requiredValue", "expression", "message"])?;
        let text = |name: &str| field.get(name).text();
        let (claim, expression, message) = (text("claim")?, text("expression")?, text("message")?);
        let required = text("requiredValue")?;
        let rule = match (claim, expression) {
            (Some(_), Some(_)) => return Err(field.wrong("claim and expression can't both be set")),
            (None, None) => return Err(field.wrong("claim or expression is required")),
            (Some(_), None) if message.is_some() => {
                return Err(field.get("message").wrong("may not be specified when claim is set"));
            }
            (None, Some(_)) if required.is_some() => {
                return Err(field
                    .get("requiredValue")
                    .wrong("may not be specified when expression is set"));
            }
            (Some(claim), None) => {
                let is_new = seen.insert((claim.clone(), true));
                let rule = Rule::Claim {
                    claim,
                    required: required.unwrap_or_default(),
                };
                is_new.then_some(rule)
            }
            (None, Some(source)) => {
                let is_new = seen.insert((source.clone(), false));
                let expression = Expression::compile(field.get("expression"), source, "claims")?;
                let message = message.unwrap_or_default();
                is_new.then_some(Rule::Expression { expression, message })
            }
        };
        found.push(rule.ok_or_else(|| field.wrong("it is there twice"))?);
    }
    Ok(found)
}

fn user_rules(field: Field<'_>) -> Found<Vec<Rule>> {
    let mut found = Vec::new();
    for (name, entry) in field.entries()? {
        let field = field.entry(&name, entry);
        field.knows(&["expression", "message"])?;
        let place = field.get("expression");
        let source = place.text()?.ok_or_else(|| place.wrong("it is required"))?;
        let expression = Expression::compile(place, source, "user")?;
        let unknown = expression
            .program
            .fields()
            .iter()
            .find(|name| !USER_FIELDS.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            return Err(place.wrong(&format!("undefined field '{unknown}'")));
        }
        let message = field.get("message").text()?.unwrap_or_default();
        found.push(Rule::Expression { expression, message });
    }
    Ok(found)
}

// === impl Expression ===

impl Expression {
    fn compile(field: Field<'_>, source: String, variable: &str) -> Found<Self> {
        let program = Free::compile(&source, variable).map_err(|error| field.wrong(&error.detail(&source)))?;
        Ok(Self {
            program: Arc::new(program),
            source,
        })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn run(&self, variable: &Value) -> Result<Yield, String> {
        let run = self.program.run(variable, CALL_COST_MAX);
        run.map_err(|failure| format!("error evaluating expression '{}': {failure}", self.source))
    }
}

// === impl Field ===

impl<'v> Field<'v> {
    fn top(value: &'v Value) -> Self {
        let (parent, name) = ("", "");
        Self { value, parent, name }
    }

    /// A member; `null` if there is none.
    fn get(self, name: &'v str) -> Self {
        Self {
            value: self.value.get(name).unwrap_or(&Value::Null),
            parent: self.name,
            name,
        }
    }

    fn entry<'e>(self, name: &'e str, value: &'e Value) -> Field<'e>
    where
        'v: 'e,
    {
        Field {
            value,
            parent: self.parent,
            name,
        }
    }

    fn wrong(self, why: &str) -> ConfigError {
        let at = [self.parent, self.name]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>();
        ConfigError::new(at.join("."), why)
    }

    /// An object, if it is there, with none but these members: what is not understood might be a restriction.
    fn knows(self, names: &[&str]) -> Found<()> {
        match self.value {
            Value::Null => Ok(()),
            Value::Object(members) => match members.keys().find(|name| !names.contains(&name.as_str())) {
                Some(unknown) => Err(self.wrong(&format!("unknown field {unknown:?}"))),
                None => Ok(()),
            },
            _ => Err(self.wrong("it is no object")),
        }
    }

    /// `None` if it is absent or empty.
    fn text(self) -> Found<Option<String>> {
        match self.value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            _ => Err(self.wrong("it is no text")),
        }
    }

    fn texts(self) -> Found<Vec<String>> {
        let wrong = || self.wrong("it is no list of texts");
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    fn entries(self) -> Found<Vec<(String, &'v Value)>> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                let name = self.name;
                Ok(items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| (format!("{name}[{at}]"), item))
                    .collect())
            }
            _ => Err(self.wrong("it is no list")),
        }
    }
}
