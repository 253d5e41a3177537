//! `metadata` of API objects: its shape and its rules (apimachinery `ObjectMeta` and `ValidateObjectMeta`).

mod rules;
mod shape;

pub use rules::{
    check_annotations, check_field_manager, check_labels, validate_object_meta, validate_object_meta_update,
    version_required,
};
pub use shape::shape_object_meta;
