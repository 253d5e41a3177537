//! Values of Kubernetes' own CEL types.

use std::cmp::Ordering;

use super::network::{Cidr, Ip};
use super::quantity::Quantity;
use super::semver::Semver;
use super::url::Url;
use crate::names;
use crate::schema::format::Format;

#[derive(Clone, Debug)]
pub enum Foreign {
    Url(Url),
    Ip(Ip),
    Cidr(Cidr),
    Quantity(Quantity),
    Semver(Semver),
    Format(NamedFormat),
}

/// A named string format, `format.dns1123Label()`.
#[derive(Clone, Copy, Debug)]
pub struct NamedFormat {
    pub name: &'static str,
    /// What is wrong with a text; nothing if it is well.
    pub check: fn(&str) -> Vec<String>,
}

pub const FORMATS: [NamedFormat; 13] = [
    NamedFormat {
        name: "dns1123Label",
        check: |text| names::label_name(text, false),
    },
    NamedFormat {
        name: "dns1123Subdomain",
        check: |text| names::subdomain_name(text, false),
    },
    NamedFormat {
        name: "dns1035Label",
        check: |text| names::dns1035_name(text, false),
    },
    NamedFormat {
        name: "qualifiedName",
        check: names::qualified_name,
    },
    NamedFormat {
        name: "dns1123LabelPrefix",
        check: |text| names::label_name(text, true),
    },
    NamedFormat {
        name: "dns1123SubdomainPrefix",
        check: |text| names::subdomain_name(text, true),
    },
    NamedFormat {
        name: "dns1035LabelPrefix",
        check: |text| names::dns1035_name(text, true),
    },
    NamedFormat {
        name: "labelValue",
        check: names::label_value,
    },
    NamedFormat {
        name: "uri",
        check: check_uri,
    },
    NamedFormat {
        name: "uuid",
        check: |text| checked(Format::Uuid, text, "does not match the UUID format"),
    },
    NamedFormat {
        name: "byte",
        check: |text| checked(Format::Byte, text, "invalid base64"),
    },
    NamedFormat {
        name: "date",
        check: |text| checked(Format::Date, text, "invalid date"),
    },
    NamedFormat {
        name: "datetime",
        check: |text| checked(Format::DateTime, text, "invalid datetime"),
    },
];

fn checked(format: Format, text: &str, error: &str) -> Vec<String> {
    if format.accepts(text) {
        Vec::new()
    } else {
        vec![error.to_owned()]
    }
}

fn check_uri(text: &str) -> Vec<String> {
    match (Url::parse(text), text) {
        (Some(_), _) => Vec::new(),
        (None, "") => vec!["parse \"\": empty url".to_owned()],
        (None, _) => vec![format!("parse {text:?}: invalid URI for request")],
    }
}

// === impl Foreign ===

impl Foreign {
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
        }
    }

    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a.compare(b) == Ordering::Equal,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b) == Ordering::Equal,
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            _ => false,
        }
    }

    /// As `string()` prints it, where it does.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Ip(ip) => Some(ip.to_string()),
            Self::Cidr(cidr) => Some(cidr.to_string()),
            _ => None,
        }
    }
}
