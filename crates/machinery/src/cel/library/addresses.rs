//! URLs, IP addresses, CIDRs, and the named string formats.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Cost, Give, Overload, Want, arg, global, member, text_arg};
use crate::cel::Failure;
use crate::cel::foreign::{FORMATS, Foreign, NamedFormat};
use crate::cel::network::{Cidr, Ip};
use crate::cel::url::Url;
use crate::cel::value::{Key, Val};

const T: &[Want] = &[Want::Text];
const URL: &[Want] = &[Want::Foreign("kubernetes.URL")];
const IP: &[Want] = &[Want::Foreign("net.IP")];
const CIDR: &[Want] = &[Want::Foreign("net.CIDR")];
const NAMED: &str = "kubernetes.NamedFormat";

const fn constant(name: &'static str, native: super::Native) -> Overload {
    global(name, &[], Give::Foreign(NAMED), Cost::One, native)
}

fn nth<'a>(at: usize) -> Result<Val<'a>, Failure> {
    FORMATS
        .get(at)
        .map(|format| Val::foreign(Foreign::Format(*format)))
        .ok_or_else(Failure::no_overload)
}

pub(super) const TABLE: &[Overload] = &[
    global("url", T, Give::Foreign("kubernetes.URL"), Cost::Scan, |args| {
        let text = text_arg(args, 0)?;
        let error = || Failure::error(format!("URL parse error during conversion from string: parse {text:?}"));
        Url::parse(text)
            .map(|url| Val::foreign(Foreign::Url(url)))
            .ok_or_else(error)
    }),
    global("isURL", T, Give::Bool, Cost::Scan, |args| {
        Ok(Val::Bool(Url::parse(text_arg(args, 0)?).is_some()))
    }),
    member("getScheme", URL, Give::Text, Cost::One, |args| {
        url(args).map(|url| Val::text(url.scheme.as_str()))
    }),
    member("getHost", URL, Give::Text, Cost::One, |args| {
        url(args).map(|url| Val::text(url.host.as_str()))
    }),
    member("getHostname", URL, Give::Text, Cost::One, |args| {
        url(args).map(|url| Val::text(url.hostname()))
    }),
    member("getPort", URL, Give::Text, Cost::One, |args| {
        url(args).map(|url| Val::text(url.port()))
    }),
    member("getEscapedPath", URL, Give::Text, Cost::One, |args| {
        url(args).map(|url| Val::text(url.escaped_path()))
    }),
    member("getQuery", URL, Give::Query, Cost::One, query),
    global("ip", T, Give::Foreign("net.IP"), Cost::Scan, |args| {
        Ip::parse(text_arg(args, 0)?)
            .map(|ip| Val::foreign(Foreign::Ip(ip)))
            .map_err(Failure::error)
    }),
    global("isIP", T, Give::Bool, Cost::Scan, |args| {
        Ok(Val::Bool(Ip::parse(text_arg(args, 0)?).is_ok()))
    }),
    global("ip.isCanonical", T, Give::Bool, Cost::Rewrite, |args| {
        let text = text_arg(args, 0)?;
        Ip::parse(text)
            .map(|ip| Val::Bool(ip.to_string() == text))
            .map_err(Failure::error)
    }),
    member("family", IP, Give::Int, Cost::One, |args| {
        ip(args).map(|ip| Val::Int(ip.family()))
    }),
    member("isUnspecified", IP, Give::Bool, Cost::One, |args| {
        ip(args).map(|ip| Val::Bool(ip.0.is_unspecified()))
    }),
    member("isLoopback", IP, Give::Bool, Cost::One, |args| {
        ip(args).map(|ip| Val::Bool(ip.0.is_loopback()))
    }),
    member("isLinkLocalMulticast", IP, Give::Bool, Cost::One, |args| {
        ip(args).map(|ip| Val::Bool(ip.is_link_local_multicast()))
    }),
    member("isLinkLocalUnicast", IP, Give::Bool, Cost::One, |args| {
        ip(args).map(|ip| Val::Bool(ip.is_link_local_unicast()))
    }),
    member("isGlobalUnicast", IP, Give::Bool, Cost::One, |args| {
        ip(args).map(|ip| Val::Bool(ip.is_global_unicast()))
    }),
    global("cidr", T, Give::Foreign("net.CIDR"), Cost::Scan, |args| {
        Cidr::parse(text_arg(args, 0)?)
            .map(|cidr| Val::foreign(Foreign::Cidr(cidr)))
            .map_err(Failure::error)
    }),
    global("isCIDR", T, Give::Bool, Cost::Scan, |args| {
        Ok(Val::Bool(Cidr::parse(text_arg(args, 0)?).is_ok()))
    }),
    member(
        "containsIP",
        &[Want::Foreign("net.CIDR"), Want::Text],
        Give::Bool,
        Cost::One,
        contains_ip,
    ),
    member(
        "containsIP",
        &[Want::Foreign("net.CIDR"), Want::Foreign("net.IP")],
        Give::Bool,
        Cost::One,
        contains_ip,
    ),
    member(
        "containsCIDR",
        &[Want::Foreign("net.CIDR"), Want::Text],
        Give::Bool,
        Cost::One,
        contains_cidr,
    ),
    member(
        "containsCIDR",
        &[Want::Foreign("net.CIDR"), Want::Foreign("net.CIDR")],
        Give::Bool,
        Cost::One,
        contains_cidr,
    ),
    member("ip", CIDR, Give::Foreign("net.IP"), Cost::One, |args| {
        cidr(args, 0).map(|cidr| Val::foreign(Foreign::Ip(cidr.address)))
    }),
    member("masked", CIDR, Give::Foreign("net.CIDR"), Cost::One, |args| {
        cidr(args, 0).map(|cidr| Val::foreign(Foreign::Cidr(cidr.masked())))
    }),
    member("prefixLength", CIDR, Give::Int, Cost::One, |args| {
        cidr(args, 0).map(|cidr| Val::Int(cidr.bits.into()))
    }),
    global("format.named", T, Give::OptionalOfFormat, Cost::One, |args| {
        let name = text_arg(args, 0)?;
        let found = FORMATS.iter().find(|format| format.name == name);
        Ok(found.map_or(Val::Optional(None), |format| {
            Val::some(Val::foreign(Foreign::Format(*format)))
        }))
    }),
    constant("format.dns1123Label", |_| nth(0)),
    constant("format.dns1123Subdomain", |_| nth(1)),
    constant("format.dns1035Label", |_| nth(2)),
    constant("format.qualifiedName", |_| nth(3)),
    constant("format.dns1123LabelPrefix", |_| nth(4)),
    constant("format.dns1123SubdomainPrefix", |_| nth(5)),
    constant("format.dns1035LabelPrefix", |_| nth(6)),
    constant("format.labelValue", |_| nth(7)),
    constant("format.uri", |_| nth(8)),
    constant("format.uuid", |_| nth(9)),
    constant("format.byte", |_| nth(10)),
    constant("format.date", |_| nth(11)),
    constant("format.datetime", |_| nth(12)),
    member(
        "validate",
        &[Want::Foreign(NAMED), Want::Text],
        Give::OptionalOfTexts,
        Cost::Rewrite,
        validate,
    ),
];

fn url<'b>(args: &'b [Val<'_>]) -> Result<&'b Url, Failure> {
    match arg(args, 0)? {
        Val::Foreign(value) => match &**value {
            Foreign::Url(url) => Ok(url),
            _ => Err(Failure::no_overload()),
        },
        _ => Err(Failure::no_overload()),
    }
}

fn ip(args: &[Val<'_>]) -> Result<Ip, Failure> {
    match arg(args, 0)? {
        Val::Foreign(value) => match **value {
            Foreign::Ip(ip) => Ok(ip),
            _ => Err(Failure::no_overload()),
        },
        _ => Err(Failure::no_overload()),
    }
}

fn cidr(args: &[Val<'_>], at: usize) -> Result<Cidr, Failure> {
    match arg(args, at)? {
        Val::Foreign(value) => match **value {
            Foreign::Cidr(cidr) => Ok(cidr),
            _ => Err(Failure::no_overload()),
        },
        Val::Text(text) if at > 0 => Cidr::parse(text.as_str()).map_err(Failure::error),
        _ => Err(Failure::no_overload()),
    }
}

fn query<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let mut members: BTreeMap<Key, Vec<Val<'a>>> = BTreeMap::new();
    for (key, value) in url(args)?.query_pairs() {
        members.entry(Key::Text(key.into())).or_default().push(Val::text(value));
    }
    Ok(Val::Map(Rc::new(
        members
            .into_iter()
            .map(|(key, values)| (key, Val::list(values)))
            .collect(),
    )))
}

fn contains_ip<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let ip = match arg(args, 1)? {
        Val::Text(text) => Ip::parse(text.as_str()).map_err(Failure::error)?,
        _ => ip(args.get(1..).unwrap_or_default())?,
    };
    Ok(Val::Bool(cidr(args, 0)?.contains_ip(ip)))
}

fn contains_cidr<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    Ok(Val::Bool(cidr(args, 0)?.contains_cidr(cidr(args, 1)?)))
}

fn validate<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let format: NamedFormat = match arg(args, 0)? {
        Val::Foreign(value) => match **value {
            Foreign::Format(format) => format,
            _ => return Err(Failure::no_overload()),
        },
        _ => return Err(Failure::no_overload()),
    };
    let errors = (format.check)(text_arg(args, 1)?);
    if errors.is_empty() {
        return Ok(Val::Optional(None));
    }
    Ok(Val::some(Val::list(errors.into_iter().map(Val::text).collect())))
}
