use http::header::{HeaderName, HeaderValue};
use machinery::user::AUTHENTICATED;

use super::*;
use crate::auth::testing::{Listed, one};

const SCOPES: &str = "x.io/scopes";

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn access() -> Access {
    Access {
        scope: Some(one("root")),
        verb: "create".to_owned(),
        is_resource: true,
        group: "authentication.k8s.io".to_owned(),
        version: "v1".to_owned(),
        resource: "selfsubjectreviews".to_owned(),
        ..Access::default()
    }
}

async fn act(
    requester: &User,
    pairs: &[(&'static str, &'static str)],
    allowed: &[&'static str],
) -> Result<Option<User>> {
    let impersonation = Impersonation::new(ImpersonationOptions {
        protected_groups: vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()],
        scopes_extra: SCOPES.to_owned(),
    });
    let listed = Listed(allowed.to_vec());
    impersonation
        .impersonate(requester, &headers(pairs), &access(), &listed)
        .await
}

fn joe() -> User {
    User::new("joe", &[AUTHENTICATED])
}

#[tokio::test]
async fn nothing_is_asked_for_without_headers() {
    assert_eq!(act(&joe(), &[("accept", "x")], &[]).await.unwrap(), None);
    assert_eq!(act(&joe(), &[("impersonate-user", "")], &[]).await.unwrap(), None);
}

/// Recorded: errors/impersonation-forbidden.json.
#[tokio::test]
async fn the_first_mode_says_what_is_not_allowed() {
    let status = act(&joe(), &[("impersonate-user", "jane")], &[]).await.unwrap_err();
    assert_eq!(
        status.message,
        "selfsubjectreviews.authentication.k8s.io is forbidden: User \"joe\" cannot impersonate-on:user-info:create \
         resource \"selfsubjectreviews\" in API group \"authentication.k8s.io\" at the cluster scope: access denied"
    );
    assert_eq!(status.code, 403);
}

/// Recorded: errors/impersonation-group-without-user.json.
#[tokio::test]
async fn groups_are_a_named_users() {
    let status = act(&joe(), &[("impersonate-group", "foo")], &[]).await.unwrap_err();
    assert_eq!(
        status.message,
        "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"foo\"}, Extra:map[string][]string(nil)} \
         without impersonating a user name"
    );
    assert_eq!(status.code, 400);
    let status = act(&joe(), &[("impersonate-extra-a.io%2fb", "c")], &[])
        .await
        .unwrap_err();
    assert!(
        status
            .message
            .contains("Groups:[]string(nil), Extra:map[string][]string{\"a.io/b\":[]string{\"c\"}}")
    );
}

/// Recorded: errors/impersonation-special-group.json.
#[tokio::test]
async fn protected_groups_are_their_members_alone() {
    let pairs = [("impersonate-user", "jane"), ("impersonate-group", MASTERS)];
    let everything = ["joe impersonate users", "joe impersonate groups"];
    let status = act(&joe(), &pairs, &everything).await.unwrap_err();
    assert_eq!(
        status.message,
        "forbidden: impersonation is not allowed for the requestor"
    );
    let own = [("impersonate-user", "jane"), ("impersonate-group", AUTHENTICATED)];
    assert!(act(&joe(), &own, &everything).await.is_ok());
    let admin = User::new("admin", &[MASTERS]);
    let user = act(&admin, &pairs, &[]).await.unwrap().unwrap();
    assert_eq!(
        user,
        User::new("jane", &[MASTERS, AUTHENTICATED]),
        "masters are not confined"
    );
}

#[tokio::test]
async fn every_part_is_asked_for_by_itself() {
    let pairs = [
        ("impersonate-user", "jane"),
        ("impersonate-uid", "u-1"),
        ("impersonate-group", "dev"),
        ("impersonate-extra-a.io%2fb", "c"),
    ];
    let all = [
        "joe impersonate users jane",
        "joe impersonate uids u-1",
        "joe impersonate groups dev",
        "joe impersonate userextras/a.io/b c",
    ];
    let user = act(&joe(), &pairs, &all).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "u-1"));
    assert_eq!(user.groups, ["dev", AUTHENTICATED]);
    assert_eq!(user.extra["a.io/b"], ["c"]);
    assert_eq!(user.extra[SCOPES], ["cluster:root"]);
    for missing in all {
        let others: Vec<&str> = all.into_iter().filter(|line| *line != missing).collect();
        assert!(act(&joe(), &pairs, &others).await.is_err(), "{missing}");
    }
}

#[tokio::test]
async fn constrained_modes_need_the_action_and_the_identity() {
    let pairs = [("impersonate-user", "jane")];
    let action = "joe impersonate-on:user-info:create selfsubjectreviews";
    let identity = "joe impersonate:user-info users jane";
    assert!(act(&joe(), &pairs, &[action, identity]).await.is_ok());
    assert!(act(&joe(), &pairs, &[identity]).await.is_err());
    let status = act(&joe(), &pairs, &[action]).await.unwrap_err();
    assert!(
        status
            .message
            .starts_with("users.authentication.k8s.io \"jane\" is forbidden"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn accounts_are_accounts() {
    let pairs = [("impersonate-user", "system:serviceaccount:default:robot")];
    assert!(act(&joe(), &pairs, &["joe impersonate users"]).await.is_err());
    let user = act(&joe(), &pairs, &["joe impersonate serviceaccounts robot"])
        .await
        .unwrap()
        .unwrap();
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        AUTHENTICATED,
    ];
    assert_eq!(user.groups, groups);
}

#[tokio::test]
async fn an_anonymous_user_is_not_authenticated() {
    let pairs = [("impersonate-user", "system:anonymous")];
    let user = act(&joe(), &pairs, &["joe impersonate users"]).await.unwrap().unwrap();
    assert_eq!(user.groups, ["system:unauthenticated"]);
}

#[tokio::test]
async fn scopes_of_the_impersonated_are_added_to() {
    let pairs = [
        ("impersonate-user", "jane"),
        ("impersonate-extra-x.io%2fscopes", "cluster:other"),
    ];
    let allowed = ["joe impersonate users", "joe impersonate userextras/x.io/scopes"];
    let user = act(&joe(), &pairs, &allowed).await.unwrap().unwrap();
    assert_eq!(user.extra[SCOPES], ["cluster:other", "cluster:root"]);
}
