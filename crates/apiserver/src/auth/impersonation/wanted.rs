//! What the headers ask for.

use http::HeaderMap;
use machinery::status::{Result, Status};
use machinery::text::{go_strings, quote};
use machinery::user::User;

use crate::auth::extra_key;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user as the headers have it: nothing defaulted, nothing allowed yet.
pub(super) fn read(headers: &HeaderMap) -> Result<User> {
    let text = |value: &http::HeaderValue| -> Result<String> {
        let text = std::str::from_utf8(value.as_bytes());
        let bad = |_| Status::bad_request("an impersonation header is not UTF-8");
        Ok(text.map_err(bad)?.to_owned())
    };
    let one = |name| headers.get(name).map_or(Ok(String::new()), text);
    let mut user = User {
        name: one(USER)?,
        uid: one(UID)?,
        groups: headers.get_all(GROUP).iter().map(text).collect::<Result<_>>()?,
        ..User::default()
    };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            user.extra.entry(extra_key(key)).or_default().push(text(value)?);
        }
    }
    Ok(user)
}

pub(super) fn is_nobody(user: &User) -> bool {
    *user == User::default()
}

/// 400: groups and the like are a named user's. Kubernetes prints its structure with `%#v`.
pub(super) fn without_name(user: &User) -> Status {
    let strings = |items: &[String]| match items {
        [] => "[]string(nil)".to_owned(),
        items => go_strings(items.iter().map(String::as_str)),
    };
    let extra = match user.extra.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => {
            let entry = |(key, values): (&String, &Vec<String>)| format!("{}:{}", quote(key), strings(values));
            let entries: Vec<String> = user.extra.iter().map(entry).collect();
            format!("map[string][]string{{{}}}", entries.join(", "))
        }
    };
    Status::bad_request(format!(
        "requested &user.DefaultInfo{{Name:{}, UID:{}, Groups:{}, Extra:{extra}}} without impersonating a user name",
        quote(&user.name),
        quote(&user.uid),
        strings(&user.groups),
    ))
}
