//! From verified claims to a user, as Kubernetes' authenticator does.

use apiserver::auth::CREDENTIAL_ID;
use machinery::cel::Yield;
use machinery::user::User;
use serde_json::{Value, json};

use crate::config::{JwtAuthenticator, Mapping, Rule};

/// # Errors
/// Why these claims make nobody. Their values are not in it.
pub fn user(config: &JwtAuthenticator, claims: &Value) -> Result<User, String> {
    // Numbers of claims are floating point in expressions.
    let seen = if config.has_expressions() {
        floating(claims)
    } else {
        Value::Null
    };
    let mut user = User {
        name: user_name(config, claims, &seen)?,
        groups: groups(config, claims, &seen)?,
        uid: uid(config, claims, &seen)?,
        ..User::default()
    };
    if let Some(id) = claims.get("jti").and_then(Value::as_str) {
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
    }
    for mapping in &config.extra {
        let values = texts(mapping.value.run(&seen)?).ok_or_else(|| {
            let key = &mapping.key;
            format!(
                "error evaluating extra claim expression of {key}: expression must return a string or a list of strings"
            )
        })?;
        if !values.is_empty() {
            user.extra.insert(mapping.key.clone(), values);
        }
    }
    check(&config.rules, claims, &seen)?;
    if !config.user_rules.is_empty() {
        let described = json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        check(&config.user_rules, &Value::Null, &described)?;
    }
    Ok(user)
}

fn user_name(config: &JwtAuthenticator, claims: &Value, seen: &Value) -> Result<String, String> {
    let (claim, prefix) = match &config.username {
        Mapping::Claim { claim, prefix } => (claim, prefix),
        Mapping::Expression(expression) => {
            return match expression.run(seen)? {
                Yield::Text(name) if !name.is_empty() => Ok(name),
                Yield::Text(_) => Err("empty username via CEL expression is not allowed".to_owned()),
                _ => Err("username claim expression must return a string".to_owned()),
            };
        }
    };
    let name = claims
        .get(claim)
        .ok_or_else(|| format!("parse username claims {claim:?}: claim not present"))?;
    // Without a name all such tokens would be one user, which is nobody's intent.
    let name = name.as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| format!("parse username claims {claim:?}: it is no name"))?;
    if claim == "email" {
        match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err("email not verified".to_owned()),
            Some(_) => return Err("parse 'email_verified' claim: it is neither true nor false".to_owned()),
        }
    }
    Ok(format!("{prefix}{name}"))
}

fn groups(config: &JwtAuthenticator, claims: &Value, seen: &Value) -> Result<Vec<String>, String> {
    let (claim, prefix) = match &config.groups {
        None => return Ok(Vec::new()),
        Some(Mapping::Claim { claim, prefix }) => (claim, prefix),
        Some(Mapping::Expression(expression)) => {
            let found = texts(expression.run(seen)?);
            return found.ok_or_else(|| "group claim expression must return a string or a list of strings".to_owned());
        }
    };
    let wrong = || format!("parse groups claim {claim:?}: it is neither a string nor a list of strings");
    let names: Vec<&str> = match claims.get(claim) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => {
            let names = many.iter().map(Value::as_str).collect::<Option<_>>();
            names.ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    Ok(names.into_iter().map(|name| format!("{prefix}{name}")).collect())
}

fn uid(config: &JwtAuthenticator, claims: &Value, seen: &Value) -> Result<String, String> {
    match &config.uid {
        None => Ok(String::new()),
        Some(Mapping::Claim { claim, .. }) => {
            let uid = claims.get(claim).and_then(Value::as_str).map(str::to_owned);
            uid.ok_or_else(|| format!("parse uid claim {claim:?}: it is no text"))
        }
        Some(Mapping::Expression(expression)) => match expression.run(seen)? {
            Yield::Text(uid) => Ok(uid),
            _ => Err("uid claim expression must return a string".to_owned()),
        },
    }
}

fn check(rules: &[Rule], claims: &Value, seen: &Value) -> Result<(), String> {
    for rule in rules {
        match rule {
            Rule::Claim { claim, required } => match claims.get(claim) {
                None => return Err(format!("required claim {claim} not present in ID token")),
                Some(Value::String(value)) if value == required => {}
                Some(_) => return Err(format!("required claim {claim} value does not match")),
            },
            Rule::Expression { expression, message } => match expression.run(seen)? {
                Yield::Bool(true) => {}
                Yield::Bool(false) => {
                    let source = expression.source();
                    return Err(format!("validation expression '{source}' failed: {message}"));
                }
                _ => return Err("validation expression must return a boolean".to_owned()),
            },
        }
    }
    Ok(())
}

/// A text or texts, without empty ones. `None`: something else.
fn texts(found: Yield) -> Option<Vec<String>> {
    let texts = match found {
        Yield::Null => Vec::new(),
        Yield::Text(text) => vec![text],
        Yield::Texts(texts) => texts,
        Yield::Bool(_) | Yield::Other(_) => return None,
    };
    Some(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

fn floating(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(floating).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| (name.clone(), floating(member)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}
