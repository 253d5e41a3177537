//! The compiled-in conversion of apis.kcp.io.

use std::sync::{Arc, LazyLock};

use api::keys::group;
use machinery::object::GroupVersion;
use machinery::status::{Result, Status};
use registry::Converter;
use serde_json::Value;

struct Apis;

static APIS: LazyLock<Arc<dyn Converter>> = LazyLock::new(|| Arc::new(Apis));

/// For exports and bindings; the other kinds of the group have one version.
pub(super) fn converter(kind: &str) -> Option<Arc<dyn Converter>> {
    api::convert::converts(group::APIS, kind).then(|| APIS.clone())
}

impl Converter for Apis {
    fn convert(&self, object: &mut Value, to: &GroupVersion) -> Result<()> {
        let converted = api::convert::convert(std::mem::take(object), &to.version).map_err(Status::from)?;
        *object = converted;
        Ok(())
    }
}
