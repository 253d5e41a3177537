//! The types that every object shares: `ObjectMeta`, and those deduced from values.

use std::sync::LazyLock;

use super::{Field, List, MapType, PatchMeta, Relation, Scalar, Strategy, Type, TypeRef};

pub(super) static DEDUCED: LazyLock<Type> = LazyLock::new(|| untyped(TypeRef::Deduced, false));

pub(super) static OPAQUE: LazyLock<Type> = LazyLock::new(|| untyped(TypeRef::Opaque, true));

/// `metav1.ObjectMeta`: labels and annotations by key, finalizers a set, owner references atomic and keyed by uid.
pub(super) static OBJECT_META: LazyLock<Type> = LazyLock::new(|| {
    let mut map = MapType::default();
    for name in [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
    ] {
        map.set_field(Field::new(name, scalar(Scalar::String)));
    }
    for name in ["creationTimestamp", "deletionTimestamp"] {
        map.set_field(Field::new(name, scalar(Scalar::Untyped)));
    }
    for name in ["generation", "deletionGracePeriodSeconds"] {
        map.set_field(Field::new(name, scalar(Scalar::Numeric)));
    }
    for name in ["labels", "annotations"] {
        let members = MapType {
            element: Some(scalar(Scalar::String)),
            ..MapType::default()
        };
        map.set_field(Field::new(name, of_map(members)));
    }
    let finalizers = List {
        element: scalar(Scalar::String),
        relation: Relation::Set,
    };
    map.set_field(Field {
        patch: merged(None),
        ..Field::new("finalizers", of_list(finalizers))
    });
    let owners = List {
        element: owner_reference(),
        relation: Relation::Keyed(vec!["uid".into()]),
    };
    map.set_field(Field {
        patch: merged(Some("uid")),
        ..Field::new("ownerReferences", of_list(owners))
    });
    map.set_field(Field::new("managedFields", TypeRef::Untracked));
    Type {
        map: Some(map),
        ..Type::default()
    }
});

fn owner_reference() -> TypeRef {
    let mut map = MapType {
        atomic: true,
        ..MapType::default()
    };
    for name in ["apiVersion", "kind", "name", "uid"] {
        map.set_field(Field::new(name, scalar(Scalar::String)));
    }
    for name in ["controller", "blockOwnerDeletion"] {
        map.set_field(Field::new(name, scalar(Scalar::Boolean)));
    }
    of_map(map)
}

/// Any shape; lists are atomic in either case.
fn untyped(element: TypeRef, atomic: bool) -> Type {
    Type {
        scalar: Some(Scalar::Untyped),
        list: Some(List {
            element: TypeRef::Opaque,
            relation: Relation::Atomic,
        }),
        map: Some(MapType {
            fields: Vec::new(),
            element: Some(element),
            atomic,
        }),
    }
}

pub(super) fn scalar(scalar: Scalar) -> TypeRef {
    TypeRef::inline(Type {
        scalar: Some(scalar),
        ..Type::default()
    })
}

fn of_map(map: MapType) -> TypeRef {
    TypeRef::inline(Type {
        map: Some(map),
        ..Type::default()
    })
}

fn of_list(list: List) -> TypeRef {
    TypeRef::inline(Type {
        list: Some(list),
        ..Type::default()
    })
}

fn merged(key: Option<&str>) -> PatchMeta {
    PatchMeta {
        strategy: Strategy::Merge,
        retain_keys: false,
        merge_key: key.map(Into::into),
    }
}
