//! Random histories against a simple model: lists are exact, watches have no gap, no duplicate and no other order, and
//! nothing outside a permit comes out.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use env::Env;
use env::simulated::SimOptions;
use kv::model::ModelKv;
use machinery::object::GroupResource;
use machinery::selector::{LabelSelector, Operator, Requirement};
use permit::{Permit, Resources, Scope, Verb, Verbs};
use proptest::prelude::*;
use storage::testing::*;
use storage::{
    Consistency, Entry, EventKind, ListRequest, ObjectKey, ResourceKey, StorageError, WatchItem, WatchRequest,
    WatchStart, Watcher,
};

const CLUSTERS: [&str; 3] = ["aaaa", "aaaa-b", "bbbb"];
const LABELS: [&str; 2] = ["claimed.example.io/x", "plain"];

#[derive(Clone, Debug)]
enum Step {
    /// Creates, updates or deletes, by what is there and by `delete`.
    Write {
        key: usize,
        labels: [u8; 2],
        delete: bool,
    },
    Compact {
        back: u64,
    },
    List {
        view: View,
        limit: usize,
        exact_back: Option<u64>,
    },
    Watch {
        view: View,
        back: Option<u64>,
    },
    Drain {
        watcher: usize,
    },
}

/// What a list or a watch is over.
#[derive(Clone, Debug)]
struct View {
    cluster: Option<usize>,
    namespace: Option<usize>,
    /// Label, and the value it has to have; 3: it has to exist, 4: it must not.
    label: Option<(usize, u8)>,
    by_field: bool,
}

type Labels = [u8; 2];
type State = BTreeMap<String, (u64, Labels)>;

/// What happened, by revision.
#[derive(Default)]
struct Model {
    /// The state after each revision, from the first on.
    history: BTreeMap<u64, State>,
    events: Vec<(u64, String, Option<Labels>, Option<Labels>)>,
    compacted: u64,
}

struct Watching {
    watcher: Watcher,
    view: View,
    /// Everything up to here was seen.
    at: u64,
    initial: Vec<(EventKind, String, u64)>,
}

fn key_of(index: usize) -> ObjectKey {
    object_key(
        CLUSTERS[index % 3],
        ["ns", "ns-1"][index / 3 % 2],
        ["x", "x-1", "y"][index / 6 % 3],
    )
}

fn value_of(label: u8) -> Option<&'static str> {
    ["", "1", "2"]
        .get(usize::from(label))
        .copied()
        .filter(|value| !value.is_empty())
}

fn labels_of(labels: Labels) -> Vec<(&'static str, &'static str)> {
    LABELS
        .iter()
        .zip(labels)
        .filter_map(|(key, label)| Some((*key, value_of(label)?)))
        .collect()
}

fn view() -> impl Strategy<Value = View> {
    let label = proptest::option::of((0..2usize, 0..5u8));
    (
        proptest::option::of(0..3usize),
        proptest::option::of(0..2usize),
        label,
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(cluster, namespace, label, by_field)| View {
            cluster,
            namespace,
            label,
            by_field,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..18usize, [0..3u8, 0..3u8], proptest::bool::weighted(0.3))
            .prop_map(|(key, labels, delete)| Step::Write { key, labels, delete }),
        1 => (0..10u64).prop_map(|back| Step::Compact { back }),
        3 => (view(), 0..4usize, proptest::option::of(0..12u64))
            .prop_map(|(view, limit, exact_back)| Step::List { view, limit, exact_back }),
        2 => (view(), proptest::option::of(0..12u64)).prop_map(|(view, back)| Step::Watch { view, back }),
        4 => (0..8usize).prop_map(|watcher| Step::Drain { watcher }),
    ]
}

impl View {
    fn scope(&self) -> Scope {
        self.cluster
            .map_or(Scope::All, |index| Scope::One(cluster(CLUSTERS[index])))
    }

    fn namespace(&self) -> String {
        self.namespace
            .map_or(String::new(), |index| ["ns", "ns-1"][index].to_owned())
    }

    fn selector(&self) -> LabelSelector {
        let Some((label, value)) = self.label else {
            return LabelSelector::everything();
        };
        let requirement = match value {
            3 => Requirement::new(LABELS[label], Operator::Exists, Vec::new()),
            4 => Requirement::new(LABELS[label], Operator::DoesNotExist, Vec::new()),
            value => Requirement::equals(LABELS[label], value_of(value).unwrap_or("none")),
        };
        LabelSelector::of(vec![requirement])
    }

    fn fields(&self) -> Option<storage::FieldPredicate> {
        self.by_field
            .then(|| Arc::new(|entry: &Entry| entry.name() != "x-1") as storage::FieldPredicate)
    }

    fn matches(&self, path: &str, labels: Labels) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        self.cluster.is_none_or(|index| parts[0] == CLUSTERS[index])
            && (self.namespace.is_none() || parts[1] == self.namespace())
            && (!self.by_field || parts[2] != "x-1")
            && self.selector().matches(|key| {
                let index = LABELS.iter().position(|label| *label == key)?;
                value_of(labels[index])
            })
    }

    fn list_request(&self) -> ListRequest {
        let (namespace, labels, fields) = (self.namespace(), self.selector(), self.fields());
        ListRequest {
            namespace,
            labels,
            fields,
            ..list_of(self.scope())
        }
    }

    fn watch_request(&self, start: WatchStart) -> WatchRequest {
        let (namespace, labels, fields) = (self.namespace(), self.selector(), self.fields());
        WatchRequest {
            namespace,
            labels,
            fields,
            ..watch_of(self.scope(), start)
        }
    }
}

impl Model {
    fn now(&self) -> u64 {
        self.history.last_key_value().map_or(0, |(revision, _)| *revision)
    }

    fn state_at(&self, revision: u64) -> State {
        self.history
            .range(..=revision)
            .next_back()
            .map_or_else(State::new, |(_, state)| state.clone())
    }

    fn listed(&self, view: &View, revision: u64) -> Vec<(String, u64)> {
        let state = self.state_at(revision);
        let seen = state
            .into_iter()
            .filter(|(path, (_, labels))| view.matches(path, *labels));
        seen.map(|(path, (revision, _))| (path, revision)).collect()
    }

    fn events_after(&self, view: &View, after: u64) -> Vec<(EventKind, String, u64)> {
        let shown = |(revision, path, old, new): &(u64, String, Option<Labels>, Option<Labels>)| {
            let sees = |labels: &Option<Labels>| labels.is_some_and(|labels| view.matches(path, labels));
            let kind = match (sees(old), sees(new)) {
                (false, true) => EventKind::Added,
                (true, true) => EventKind::Modified,
                (true, false) => EventKind::Deleted,
                (false, false) => return None,
            };
            (*revision > after).then(|| (kind, path.clone(), *revision))
        };
        self.events.iter().filter_map(shown).collect()
    }

    /// Whether an event in between is gone from the log.
    fn lost_after(&self, revision: u64) -> bool {
        self.events
            .iter()
            .any(|event| event.0 > revision && event.0 <= self.compacted)
    }

    fn record(&mut self, path: String, revision: u64, new: Option<Labels>) {
        let mut state = self.state_at(u64::MAX);
        let old = match new {
            Some(labels) => state.insert(path.clone(), (revision, labels)),
            None => state.remove(&path),
        };
        self.history.insert(revision, state);
        self.events.push((revision, path, old.map(|old| old.1), new));
    }
}

struct World {
    hand: Hand,
    /// Forgets everything at once, so that it has to ask the store of keys.
    forgetful: Hand,
    model: Model,
    watching: Vec<Watching>,
}

impl World {
    async fn new() -> Self {
        let (env, _host) = Env::simulated(7, SimOptions::default());
        let bench = Bench::new(&env, Arc::new(ModelKv::new(&env)));
        let hand = bench.open().await;
        for name in CLUSTERS {
            hand.open_cluster(name).await;
        }
        let forgetful = bench.open_with(|options| options.log_bytes = 0, Vec::new()).await;
        let mut model = Model::default();
        model.history.insert(hand.store.revision(), State::new());
        Self {
            hand,
            forgetful,
            model,
            watching: Vec::new(),
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Write { key, labels, delete } => self.write(&key_of(*key), *labels, *delete).await,
            Step::Compact { back } => {
                let revision = self.model.now().saturating_sub(*back);
                if revision > self.model.compacted {
                    self.hand.store.compact_to(revision).await.unwrap();
                    self.model.compacted = revision;
                }
            }
            Step::List {
                view,
                limit,
                exact_back,
            } => self.list(view, *limit, *exact_back).await,
            Step::Watch { view, back } => self.watch(view, *back).await,
            Step::Drain { watcher } if *watcher < self.watching.len() => self.drain(*watcher),
            Step::Drain { .. } => {}
        }
    }

    async fn write(&mut self, key: &ObjectKey, labels: Labels, delete: bool) {
        let known = self.model.state_at(u64::MAX).get(&key.to_string()).map(|known| known.0);
        let given = labels_of(labels);
        let (entry, new) = match (known, delete) {
            (None, true) => {
                let gone = self.hand.delete(key, self.model.now()).await;
                assert!(matches!(gone, Err(StorageError::NotFound)));
                return;
            }
            (None, false) => (self.hand.create(key, &given, "").await.unwrap(), Some(labels)),
            (Some(at), false) => (self.hand.update(key, &given, "", at).await.unwrap(), Some(labels)),
            (Some(at), true) => (self.hand.delete(key, at).await.unwrap(), None),
        };
        self.model.record(key.to_string(), entry.revision(), new);
    }

    async fn list(&self, view: &View, limit: usize, exact_back: Option<u64>) {
        let revision = self.model.now().saturating_sub(exact_back.unwrap_or(0));
        if revision < *self.model.history.keys().next().unwrap() {
            return;
        }
        for hand in [&self.hand, &self.forgetful] {
            let consistency = exact_back.map_or(Consistency::Latest, |_| Consistency::Exact(revision));
            let request = ListRequest {
                limit,
                consistency,
                ..view.list_request()
            };
            let pages = all_pages(request, |request| async move { hand.list(&request).await }).await;
            match pages {
                Ok(pages) => {
                    let found: Vec<(String, u64)> = pages
                        .iter()
                        .flat_map(|page| &page.items)
                        .map(|entry| (path(entry), entry.revision()))
                        .collect();
                    let mut expected = self.model.listed(view, revision);
                    expected.sort();
                    assert_eq!(found, expected, "exactly the state at {revision}");
                    assert!(pages.iter().all(|page| page.revision == revision));
                    assert!(limit == 0 || pages.iter().all(|page| page.items.len() <= limit));
                    let mut left = expected.len();
                    for page in &pages {
                        left -= page.items.len();
                        assert!(page.remaining.is_none_or(|remaining| remaining == left as u64));
                    }
                }
                Err(StorageError::Expired { .. } | StorageError::ContinueExpired { .. }) => {
                    assert!(revision < self.model.compacted, "{revision} is not compacted");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn watch(&mut self, view: &View, back: Option<u64>) {
        let Some(back) = back else {
            let start = WatchStart::Initial {
                consistency: Consistency::Latest,
                bookmark: false,
            };
            let watcher = self.hand.watch(&view.watch_request(start)).await;
            let at = self.model.now();
            let initial = self
                .model
                .listed(view, at)
                .into_iter()
                .map(|(path, at)| (EventKind::Added, path, at));
            let mut initial: Vec<_> = initial.collect();
            initial.sort_by(|left, right| left.1.cmp(&right.1));
            self.watching.push(Watching {
                watcher,
                view: view.clone(),
                at,
                initial,
            });
            return;
        };
        let at = self
            .model
            .now()
            .saturating_sub(back)
            .max(*self.model.history.keys().next().unwrap());
        let mut watcher = self.hand.watch(&view.watch_request(WatchStart::After(at))).await;
        if self.model.lost_after(at) {
            assert!(
                matches!(watcher.ready(), Some(WatchItem::Expired { .. })),
                "a gap is told at once"
            );
        } else {
            self.watching.push(Watching {
                watcher,
                view: view.clone(),
                at,
                initial: Vec::new(),
            });
        }
    }

    fn drain(&mut self, index: usize) {
        let Watching {
            watcher,
            view,
            at,
            initial,
        } = &mut self.watching[index];
        let mut expected = std::mem::take(initial);
        expected.extend(self.model.events_after(view, *at));
        let mut expected = expected.into_iter();
        while let Some(item) = watcher.ready() {
            match item {
                WatchItem::Event(event) => {
                    let seen = (event.kind, path(&event.entry), event.revision());
                    assert_eq!(Some(seen), expected.next(), "no gap, no duplicate, one order");
                }
                WatchItem::Expired { .. } => {
                    assert!(self.model.lost_after(*at), "nothing was lost");
                    self.watching.remove(index);
                    return;
                }
                item => panic!("{item:?}"),
            }
        }
        assert_eq!(expected.next(), None, "everything is shown");
        assert_eq!(watcher.revision(), self.model.now().max(*at), "and covered");
        *at = self.model.now();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists_are_exact_and_watches_have_no_gap(steps in proptest::collection::vec(step(), 1..80)) {
        block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.take(step).await;
            }
            for index in (0..world.watching.len()).rev() {
                world.drain(index);
            }
        });
    }

    #[test]
    fn law_5_storage_applies_the_permit(
        writes in proptest::collection::vec((0..18usize, [0..3u8, 0..3u8], proptest::bool::weighted(0.2)), 1..40),
        of_permit in view(),
        asked in view(),
        verbs in proptest::collection::vec(0..8usize, 0..4),
        own_resource in proptest::bool::weighted(0.8),
    ) {
        block_on(async {
            let mut world = World::new().await;
            let resource = GroupResource::new("", if own_resource { "configmaps" } else { "secrets" });
            let verbs: Vec<Verb> = verbs.into_iter().map(|index| Verb::EVERY[index]).collect();
            let permit = Permit::granted(of_permit.scope(), Resources::One(resource), Verbs::of(&verbs), of_permit.selector());
            let may_read = own_resource && verbs.iter().any(|verb| *verb != Verb::Create);
            let may_watch = own_resource && verbs.contains(&Verb::Watch);
            let covers = of_permit.scope().covers(&asked.scope());
            let allowed = |labels: Labels, path: &str| {
                View { namespace: None, by_field: false, ..of_permit.clone() }.matches(path, labels)
            };
            let (store, resource) = (world.hand.store.clone(), ResourceKey::builtin("", "configmaps"));
            let begin = store.revision();
            let start = WatchStart::After(begin);
            let mut watcher = store.watch(&permit, &resource, &asked.watch_request(start)).await;
            prop_assert_eq!(watcher.is_ok(), may_watch && covers);
            for (key, labels, delete) in writes {
                world.write(&key_of(key), labels, delete).await;
            }
            let state = world.model.state_at(u64::MAX);
            if let Ok(watcher) = &mut watcher {
                for (kind, path, revision) in ready_events(watcher) {
                    let event = world.model.events.iter().find(|event| event.0 == revision).unwrap();
                    let shown = if kind == EventKind::Deleted { event.2 } else { event.3 };
                    prop_assert!(allowed(shown.unwrap(), &path));
                    prop_assert!(asked.matches(&path, shown.unwrap()));
                }
            }
            for consistency in [Consistency::Latest, Consistency::Exact(store.revision())] {
                let request = ListRequest { consistency, ..asked.list_request() };
                let list = store.list(&permit, &resource, &request).await;
                prop_assert_eq!(list.is_ok(), may_read && covers);
                let expected = world.model.listed(&asked, u64::MAX).into_iter().map(|(path, _)| path);
                let expected: Vec<String> = expected.filter(|path| allowed(state[path].1, path)).collect();
                if let Ok(list) = list {
                    prop_assert_eq!(paths(&list), { let mut sorted = expected; sorted.sort(); sorted });
                }
            }
            for index in 0..18 {
                let key = key_of(index);
                let got = store.get(&permit, &resource, &key, Consistency::Any).await;
                let known = state.get(&key.to_string());
                let visible = known.is_some_and(|known| allowed(known.1, &key.to_string()));
                let covered = may_read && of_permit.scope().contains(&key.cluster);
                prop_assert_eq!(got.is_ok(), covered && visible);
                prop_assert_eq!(store.peek(&permit, &resource, &key).is_some(), covered && visible);
            }
            let peeked = store.peek_list(&permit, &resource, &asked.scope(), &asked.namespace(), &asked.selector());
            prop_assert!(peeked.is_empty() || (may_read && covers));
            prop_assert!(peeked.iter().all(|entry| allowed(state[&path(entry)].1, &path(entry))));
            Ok(())
        })?;
    }
}
