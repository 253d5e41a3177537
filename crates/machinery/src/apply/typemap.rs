//! What merging has to know of a type: where lists are sets, keyed or atomic, which maps are structs, what SMP merges by.
//!
//! One description serves server-side apply and strategic merge patch. It is made from an OpenAPI or structural schema
//! ([`ObjectType::from_schema`]) or, where there is none, deduced from the values ([`ObjectType::deduced`]). Making one is
//! cheap: the tree is built on first use, and named definitions one by one as they are reached; share it as an `Arc`, one
//! per schema content.
//!
//! Invariant: `metadata` of every object is `ObjectMeta`, whatever the schema says.

use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::Value;

mod build;
mod meta;

/// The type of one kind of API object, in one version.
#[derive(Debug)]
pub struct ObjectType {
    definitions: Arc<Definitions>,
    schema: Option<Arc<Value>>,
    root: OnceLock<TypeRef>,
}

/// Named schemas that may refer to each other, and to themselves. Shared by all types made from them.
#[derive(Debug, Default)]
pub struct Definitions {
    /// Sorted by name.
    entries: Vec<Definition>,
}

#[derive(Debug)]
struct Definition {
    name: Box<str>,
    schema: Value,
    built: OnceLock<Type>,
}

/// A reference to a type, to be resolved by [`Definitions::resolve`]. Cheap to clone.
#[derive(Clone, Debug)]
pub enum TypeRef {
    Inline(Arc<Type>),
    /// A named definition; the second says whether the reference makes the map atomic or granular, if it says so.
    Named(usize, Option<bool>),
    /// Known from the value only: maps are granular, lists atomic.
    Deduced,
    /// Like deduced, but maps are atomic too.
    Opaque,
    /// `metadata`.
    ObjectMeta,
    /// Nobody owns it, no comparison sees it (`metadata.managedFields`).
    Untracked,
}

/// The shapes a value may have. Several are set where the schema says nothing.
#[derive(Clone, Debug, Default)]
pub struct Type {
    pub scalar: Option<Scalar>,
    pub list: Option<List>,
    pub map: Option<MapType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Numeric,
    String,
    Boolean,
    Untyped,
}

#[derive(Clone, Debug)]
pub struct List {
    pub element: TypeRef,
    pub relation: Relation,
}

/// How the items of a list relate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Maps told apart by these fields. Defaults of absent keys are in the item's type.
    Keyed(Vec<Box<str>>),
}

#[derive(Clone, Debug, Default)]
pub struct MapType {
    /// Declared fields, sorted by name.
    fields: Vec<Field>,
    /// The type of all other fields; none: they are not allowed.
    pub element: Option<TypeRef>,
    pub atomic: bool,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: Box<str>,
    pub ty: TypeRef,
    pub default: Option<Value>,
    pub patch: PatchMeta,
}

/// How strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchMeta {
    pub strategy: Strategy,
    /// `retainKeys` is among the strategies. What it does is driven by `$retainKeys` in the patch alone.
    pub retain_keys: bool,
    pub merge_key: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Maps merge, lists are replaced.
    #[default]
    Unset,
    Merge,
    Replace,
}

/// A type seen through a reference and, after [`Atom::deduce`], narrowed to the shape of a value.
#[derive(Clone, Copy, Debug)]
pub struct Atom<'a> {
    pub scalar: Option<Scalar>,
    pub list: Option<&'a List>,
    pub map: Option<&'a MapType>,
    pub map_atomic: bool,
}

// === impl ObjectType ===

impl ObjectType {
    /// The type of objects with this schema; `$ref`s are looked up in the definitions.
    pub fn from_schema(schema: Arc<Value>, definitions: Arc<Definitions>) -> Self {
        Self {
            definitions,
            schema: Some(schema),
            root: OnceLock::new(),
        }
    }

    /// The type of a structural schema: of a CRD's or APIResourceSchema's version.
    pub fn structural(schema: Arc<Value>) -> Self {
        Self::from_schema(schema, Definitions::none())
    }

    /// Without a schema: every top-level field but `metadata` is deduced.
    pub fn deduced() -> Self {
        Self {
            definitions: Definitions::none(),
            schema: None,
            root: OnceLock::new(),
        }
    }

    /// The type of a named definition, e.g. `io.k8s.api.core.v1.ConfigMap`. `None` if there is none of that name.
    pub fn named(name: &str, definitions: &Arc<Definitions>) -> Option<Self> {
        let schema = definitions
            .find(name)
            .and_then(|index| definitions.entries.get(index))?
            .schema
            .clone();
        Some(Self::from_schema(Arc::new(schema), Arc::clone(definitions)))
    }

    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// The reference to the object's own type; builds it on first use.
    pub fn root(&self) -> &TypeRef {
        self.root
            .get_or_init(|| build::root(self.schema.as_deref(), &self.definitions))
    }
}

// === impl Definitions ===

impl Definitions {
    /// From a map of schemas by name (`components.schemas` or `definitions` of an OpenAPI document).
    pub fn new(schemas: impl IntoIterator<Item = (String, Value)>) -> Self {
        let mut entries: Vec<Definition> = schemas
            .into_iter()
            .map(|(name, schema)| Definition {
                name: name.into(),
                schema,
                built: OnceLock::new(),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self { entries }
    }

    fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Definitions>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()
    }

    /// What a reference refers to.
    pub fn resolve<'a>(&'a self, reference: &'a TypeRef) -> Atom<'a> {
        match reference {
            TypeRef::Inline(ty) => Atom::of(ty, None),
            TypeRef::Deduced => Atom::of(&meta::DEDUCED, None),
            TypeRef::Opaque | TypeRef::Untracked => Atom::of(&meta::OPAQUE, None),
            TypeRef::ObjectMeta => Atom::of(&meta::OBJECT_META, None),
            TypeRef::Named(index, atomic) => match self.entries.get(*index) {
                Some(entry) => Atom::of(
                    entry.built.get_or_init(|| build::definition(&entry.schema, self)),
                    *atomic,
                ),
                None => Atom::of(&meta::DEDUCED, None),
            },
        }
    }
}

// === impl TypeRef ===

impl TypeRef {
    pub(super) fn inline(ty: Type) -> Self {
        Self::Inline(Arc::new(ty))
    }

    pub fn is_untracked(&self) -> bool {
        matches!(self, Self::Untracked)
    }

    pub fn is_deduced(&self) -> bool {
        matches!(self, Self::Deduced)
    }
}

// === impl MapType ===

impl MapType {
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(at)
    }

    /// The type of a field, declared or not; `None` if it is not allowed.
    pub fn type_of(&self, name: &str) -> Option<&TypeRef> {
        self.field(name).map(|field| &field.ty).or(self.element.as_ref())
    }

    /// True for a map without declared fields whose members are deduced.
    pub fn is_free_form(&self) -> bool {
        self.fields.is_empty() && self.element.as_ref().is_some_and(TypeRef::is_deduced)
    }

    pub(super) fn set_field(&mut self, field: Field) {
        match self.fields.binary_search_by(|here| here.name.cmp(&field.name)) {
            Ok(at) => {
                if let Some(here) = self.fields.get_mut(at) {
                    *here = field;
                }
            }
            Err(at) => self.fields.insert(at, field),
        }
    }
}

// === impl Field ===

impl Field {
    pub(super) fn new(name: &str, ty: TypeRef) -> Self {
        Self {
            name: name.into(),
            ty,
            default: None,
            patch: PatchMeta::default(),
        }
    }
}

// === impl Atom ===

impl<'a> Atom<'a> {
    fn of(ty: &'a Type, atomic: Option<bool>) -> Self {
        let map_atomic = atomic.unwrap_or_else(|| ty.map.as_ref().is_some_and(|map| map.atomic));
        Self {
            scalar: ty.scalar,
            list: ty.list.as_ref(),
            map: ty.map.as_ref(),
            map_atomic,
        }
    }

    /// Narrows to the shape the value has, if the type allows that shape. Null and absent values have no shape.
    #[must_use]
    pub fn deduce(self, value: Option<&Value>) -> Self {
        match value {
            Some(Value::Array(_)) if self.list.is_some() => Self {
                scalar: None,
                map: None,
                ..self
            },
            Some(Value::Object(_)) if self.map.is_some() => Self {
                scalar: None,
                list: None,
                ..self
            },
            Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) if self.scalar.is_some() => Self {
                list: None,
                map: None,
                ..self
            },
            _ => self,
        }
    }

    /// Whether two narrowings of one type are the same.
    pub fn same_shape(&self, other: &Self) -> bool {
        self.scalar.is_some() == other.scalar.is_some()
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }
}

#[cfg(test)]
mod tests;
