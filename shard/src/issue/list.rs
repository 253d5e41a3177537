//! The list of what is to be issued.

use anyhow::{Context, Result, bail};
use machinery::object::ObjectExt;
use serde_json::Value;

/// In the order in which they are issued: authorities first.
#[derive(Debug)]
pub struct List {
    pub wanted: Vec<Wanted>,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub secret: String,
    /// Who signs it; `None`: itself.
    pub authority: Option<String>,
    pub is_authority: bool,
    pub common_name: String,
    pub organizations: Vec<String>,
    pub server: bool,
    pub client: bool,
    /// Names and addresses.
    pub hosts: Vec<String>,
    /// Never renewed: whoever was given something signed with its key would lose it.
    pub keep: bool,
    pub days: i64,
}

const AUTHORITY_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;

// === impl List ===

impl List {
    pub fn parse(text: &[u8]) -> Result<Self> {
        let value = machinery::yaml::decode_value(text).map_err(anyhow::Error::msg)?;
        let days = |field: &str, default: i64| match value.get(field) {
            None => Ok(default),
            Some(days) => days
                .as_i64()
                .filter(|days| (1..=36500).contains(days))
                .with_context(|| format!("{field} must be a number of days")),
        };
        let (authority_days, leaf_days) = (days("authorityDays", AUTHORITY_DAYS)?, days("leafDays", LEAF_DAYS)?);
        let mut wanted: Vec<Wanted> = Vec::new();
        for (field, is_authority) in [("authorities", true), ("certificates", false)] {
            for entry in value.get(field).and_then(Value::as_array).into_iter().flatten() {
                let mut one = Wanted::parse(entry, is_authority)?;
                one.days = if is_authority || one.keep {
                    authority_days
                } else {
                    leaf_days
                };
                if wanted.iter().any(|other| other.secret == one.secret) {
                    bail!("{} is there twice", one.secret);
                }
                wanted.push(one);
            }
        }
        if wanted.is_empty() {
            bail!("it has neither authorities nor certificates");
        }
        Ok(Self { wanted })
    }
}

// === impl Wanted ===

impl Wanted {
    fn parse(entry: &Value, is_authority: bool) -> Result<Self> {
        let text = |field: &str| {
            entry
                .str_at(&[field])
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let texts = |field: &str| -> Vec<String> {
            let items = entry.get(field).and_then(Value::as_array);
            let texts = items.into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let secret = text("secret").context("an entry without a secret")?;
        // It becomes a directory's name.
        if secret.contains('/') || secret.starts_with('.') {
            bail!("secret {secret:?} is no name");
        }
        let common_name = text("commonName").with_context(|| format!("{secret}: commonName is missing"))?;
        let usages = texts("usages");
        if let Some(other) = usages
            .iter()
            .find(|usage| !["server auth", "client auth"].contains(&usage.as_str()))
        {
            bail!("{secret}: usage {other:?} is not known");
        }
        let organizations = texts("organizations");
        if organizations.len() > 1 {
            bail!("{secret}: more than one organization cannot be written into a certificate here");
        }
        let has = |usage: &str| usages.iter().any(|one| one == usage);
        Ok(Self {
            authority: text("authority"),
            is_authority,
            common_name,
            organizations,
            server: has("server auth"),
            client: has("client auth"),
            hosts: texts("dnsNames").into_iter().chain(texts("ipAddresses")).collect(),
            keep: entry.get("keep").and_then(Value::as_bool).unwrap_or_default(),
            days: 0,
            secret,
        })
    }
}
