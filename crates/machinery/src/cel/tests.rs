use serde_json::json;

use super::*;

fn schema() -> std::sync::Arc<Schema> {
    Schema::parse(&json!({"type": "object", "properties": {
        "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
        "when": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"}, "either": {"x-kubernetes-int-or-string": true},
        "namespace": {"type": "string"}, "a-b": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string"}},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "objects": {"type": "array", "items": {"type": "object", "properties": {
            "k": {"type": "string"}, "v": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}}
    }}))
}

fn object() -> Value {
    json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"},
        "s": "héllo", "i": 5, "n": 2, "b": true, "when": "2024-01-02T03:04:05Z", "wait": "1h", "data": "YWJj",
        "either": "50%", "namespace": "ns", "a-b": "dash", "list": ["a", "b"], "numbers": [3, 1, 2],
        "set": ["x", "y"], "objects": [{"k": "a", "v": 1}, {"k": "b"}], "labels": {"app": "web", "a-b": "c"}})
}

fn run_with(rule: &str, old: Option<&Value>, optional_old: bool) -> Result<Outcome, Failure> {
    let schema = schema();
    let scope = Scope {
        schema: &schema,
        root: true,
        optional_old,
    };
    let program = match Program::compile(rule, scope, Wanted::Bool) {
        Ok(program) => program,
        Err(error) => panic!("{}", error.detail(rule)),
    };
    let object = object();
    program
        .run(
            Input {
                schema: &schema,
                root: true,
                this: &object,
                old,
            },
            CALL_COST_MAX,
        )
        .0
}

fn holds(rule: &str) -> bool {
    match run_with(rule, None, false) {
        Ok(Outcome::Bool(value)) => value,
        other => panic!("{rule}: {other:?}"),
    }
}

fn failure(rule: &str) -> String {
    match run_with(rule, None, false) {
        Err(error) => error.to_string(),
        other => panic!("{rule}: {other:?}"),
    }
}

fn refused(rule: &str) -> String {
    let schema = schema();
    let scope = Scope {
        schema: &schema,
        root: true,
        optional_old: false,
    };
    Program::compile(rule, scope, Wanted::Bool)
        .expect_err(rule)
        .detail(rule)
}

#[track_caller]
fn all_hold(rules: &[&str]) {
    for rule in rules {
        assert!(holds(rule), "{rule}");
    }
}

#[test]
fn reads_the_object_as_its_schema_types_it() {
    all_hold(&[
        "self.s == 'héllo' && size(self.s) == 5",
        "self.i + 1 == 6",
        "self.n / 4.0 == 0.5",
        "self.b",
        "self.when.getFullYear() == 2024 && self.when.getMonth() == 0 && self.when.getDayOfWeek() == 2",
        "self.when.getHours('+02:00') == 5",
        "self.wait == duration('3600s') && self.wait.getMinutes() == 60",
        "self.when + self.wait > self.when",
        "self.data == b'abc'",
        "type(self.either) == string && self.either.endsWith('%')",
        "self.__namespace__ == 'ns'",
        "self.a__dash__b == 'dash'",
        "self.labels['a-b'] == 'c' && self.labels.app == 'web'",
        "has(self.labels.app) && !has(self.labels.nope) && 'app' in self.labels",
        "self.metadata.name == 'n' && self.kind == 'K' && self.apiVersion == 'g/v1'",
        "!has(self.objects[1].v)",
    ]);
}

#[test]
fn macros_go_over_lists_and_maps() {
    all_hold(&[
        "self.list.all(x, x in ['a', 'b'])",
        "self.list.exists(x, x == 'b')",
        "self.list.exists_one(x, x == 'b') && self.numbers.existsOne(i, n, i == 0 && n == 3)",
        "self.numbers.filter(n, n > 1) == [3, 2]",
        "self.numbers.map(n, n * 2) == [6, 2, 4]",
        "self.numbers.map(n, n > 1, n * 2) == [6, 4]",
        "self.labels.all(k, self.labels[k].size() > 0)",
        "self.labels.all(k, v, k != v)",
        "self.labels.transformMap(k, v, v + '!') == {'app': 'web!', 'a-b': 'c!'}",
        "self.labels.transformList(k, v, k + v) == ['a-bc', 'appweb']",
        "self.list.transformMapEntry(i, v, {v: i}) == {'a': 0, 'b': 1}",
        "self.objects.all(o, o.k.size() == 1 && self.objects.exists(p, p.k == o.k))",
        "self.numbers.sortBy(n, -n) == [3, 2, 1]",
        "cel.bind(x, self.i * 2, x + x == 20)",
        "[1, 2].exists(x, x / 0 == 1 || x == 2)",
        "![].exists(x, x) && [].all(x, x)",
    ]);
}

#[test]
fn errors_give_way_to_what_decides() {
    all_hold(&[
        "self.i / 0 == 1 || true",
        "!(self.i / 0 == 1 && false)",
        "true || self.i / 0 == 1",
    ]);
    assert_eq!(failure("self.i / 0 == 1 || false"), "division by zero");
    assert_eq!(failure("self.objects[1].v == 1"), "no such key: v");
    assert_eq!(failure("self.objects[2].v == 1"), "index out of bounds: 2");
    assert_eq!(failure("self.labels['x'] == ''"), "no such key: x");
    assert_eq!(failure("self.either + 1 == 2"), "no such overload");
    assert_eq!(failure("9223372036854775807 + self.i > 0"), "integer overflow");
}

#[test]
fn libraries_do_what_kubernetes_says() {
    all_hold(&[
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "['a', 'b'].join('-') == 'a-b' && ['a'].join() == 'a'",
        "'Hello'.lowerAscii() == 'hello' && 'a'.upperAscii() == 'A'",
        "'hello'.replace('l', 'L', 1) == 'heLlo' && ' x '.trim() == 'x'",
        "'héllo'.substring(1, 3) == 'él' && 'héllo'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3",
        "'héllo'.charAt(1) == 'é' && 'abc'.reverse() == 'cba'",
        "'%s is %d of %.2f, %x'.format(['a', 1, 2.5, 255]) == 'a is 1 of 2.50, ff'",
        "'abc 123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "'abc'.matches('^a.c$') && !self.s.matches('x')",
        "isURL('https://a/b') && url('https://a:1/b?x=y').getPort() == '1' && url('https://a/?x=y').getQuery()['x'] == ['y']",
        "[1, 2, 3].isSorted() && [1, 2].sum() == 3 && [2, 1].min() == 1 && ['a', 'b'].max() == 'b'",
        "['a', 'b'].indexOf('b') == 1 && [1, 2, 1].lastIndexOf(1) == 2",
        "sets.contains([1, 2], [1]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2])",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('500m')).asInteger() == 1",
        "isQuantity('5k') && !isQuantity('x') && quantity('1').compareTo(quantity('1000m')) == 0",
        "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && isIP('::1')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "string(ip('::1')) == '::1' && ip.isCanonical('::1')",
        "!format.dns1123Label().validate('ok').hasValue() && format.dns1123Label().validate('No').hasValue()",
        "format.named('nope') == optional.none()",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.0', true) && semver('1.2.3').minor() == 2",
        "[1, [2, [3]]].flatten() == [1, 2, [3]] && [3, 1].sort() == [1, 3] && [1, 1].distinct() == [1]",
        "[1, 2, 3].slice(1, 3) == [2, 3] && lists.range(3) == [0, 1, 2] && [1, 2].reverse() == [2, 1]",
        "int('5') == 5 && string(5) == '5' && double('1.5') == 1.5 && bool('true') && uint(3) == 3u",
        "string(duration('90s')) == '90s' && timestamp('2024-01-02T03:04:05Z') == self.when",
        "type(1) == int && type('') == string && type(self.when) == google.protobuf.Timestamp",
        "strings.quote('a\"b') == '\"a\\\\\"b\"'",
    ]);
}

/// As in cel-go, which makes the list before it looks through it.
#[test]
fn an_error_in_a_list_wins_over_what_is_found_before_it() {
    assert_eq!(failure("1 in [1, 1 / 0]"), "division by zero");
    assert_eq!(
        failure("1 in [1, ?optional.none().value()]"),
        "optional.none() dereference"
    );
}

#[test]
fn optionals_carry_absence() {
    all_hold(&[
        "self.?s.hasValue() && self.objects[?5] == optional.none()",
        "self.?labels.?nope.orValue('x') == 'x' && self.labels[?'app'].value() == 'web'",
        "self.?i.optMap(x, x + 1).orValue(0) == 6",
        "[?self.?s, ?optional.none()] == ['héllo'] && {?'a': self.?i} == {'a': 5}",
        "'héllo' in [?optional.none(), ?self.?s] && !('' in [?optional.none()]) && self.?s in [self.?s]",
        "optional.of(1).or(optional.of(2)).value() == 1 && !optional.ofNonZeroValue('').hasValue()",
    ]);
    assert_eq!(failure("optional.none().value() == 1"), "optional.none() dereference");
}

#[test]
fn numbers_compare_across_types_and_sets_without_order() {
    all_hold(&[
        "dyn(1) == dyn(1.0) && dyn(1u) == dyn(1)",
        "self.n > 1 && self.i < 5.5",
        "self.set == ['y', 'x'] || true",
    ]);
    let mut old = object();
    old["set"] = json!(["y", "x"]);
    assert_eq!(
        run_with("self.set == oldSelf.set", Some(&old), false),
        Ok(Outcome::Bool(true))
    );
    assert_eq!(
        run_with("self.list == oldSelf.list", Some(&old), false),
        Ok(Outcome::Bool(true))
    );
    assert_eq!(
        run_with("self.set + ['y', 'z'] == ['x', 'y', 'z']", None, false),
        Ok(Outcome::Bool(true))
    );
}

#[test]
fn old_self_may_be_optional() {
    let old = json!({"i": 4});
    assert_eq!(run_with("oldSelf.hasValue()", None, true), Ok(Outcome::Bool(false)));
    assert_eq!(
        run_with("oldSelf.optMap(o, o.i).orValue(9) == 4", Some(&old), true),
        Ok(Outcome::Bool(true))
    );
    assert_eq!(
        run_with("self.i > oldSelf.i", Some(&old), false),
        Ok(Outcome::Bool(true))
    );
}

#[test]
fn refuses_what_does_not_type() {
    let text = "compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^";
    assert_eq!(refused("self.nope == 1"), text);
    assert!(refused("foo == 1").contains("undeclared reference to 'foo' (in container '')"));
    assert!(refused("self.s + 1 == ''").contains("found no matching overload for '_+_' applied to '(string, int)'"));
    assert!(refused("self.i.startsWith('a')").contains("'startsWith' applied to 'int.(string)'"));
    assert!(refused("self.s.nope()").contains("undeclared reference to 'nope'"));
    assert!(refused("self.s == 1").contains("found no matching overload for '_==_' applied to '(string, int)'"));
    assert!(refused("self.s.matches('(')").contains("error parsing regexp"));
    assert!(refused("self.metadata.labels.x == ''").contains("undefined field 'labels'"));
    assert!(refused("self.namespace == ''").contains("undefined field 'namespace'"));
    assert!(refused("self.i.all(x, true)").contains("cannot be range of a comprehension"));
    assert_eq!(refused("self.s"), "cel expression must evaluate to a bool");
    assert!(refused("self.s ==").contains("Syntax error: mismatched input '<EOF>'"));
}

#[test]
fn work_is_bounded() {
    let rule = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, \
                [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, true))))))";
    assert_eq!(run_with(rule, None, false), Err(Failure::Budget));
    // Shared lists of shared lists: few steps make a value whose comparison would never end.
    let mut rule = "x39 == x39".to_owned();
    for level in (1..40).rev() {
        rule = format!("cel.bind(x{level}, [x{0}, x{0}, x{0}], {rule})", level - 1);
    }
    let rule = format!("cel.bind(x0, [1, 2, 3], {rule})");
    assert_eq!(run_with(&rule, None, false), Err(Failure::Budget));
}

#[test]
fn nothing_is_made_before_it_is_paid_for() {
    let schema = schema();
    let mut object = object();
    object["s"] = "x".repeat(1 << 20).into();
    let cost = |rule: &str| {
        let scope = Scope {
            schema: &schema,
            root: true,
            optional_old: false,
        };
        let program = Program::compile(rule, scope, Wanted::Bool).unwrap();
        let input = Input {
            schema: &schema,
            root: true,
            this: &object,
            old: None,
        };
        program.run(input, CALL_COST_MAX)
    };
    // Each would take gigabytes or minutes.
    for rule in [
        "lists.range(10000).map(i, self.s).join('').size() > 0",
        "lists.range(900000).map(i, '').size() > 0 && lists.range(900000).size() > 0",
        "'%s'.format([lists.range(10000).map(i, self.s)]).size() > 0",
        "lists.range(20000).all(i, 'aaaa'.replace('a', self.s).size() > 0)",
        "lists.range(30000).map(i, bytes(self.s)).size() > 0",
        "lists.range(9000).map(i, {self.s: i}).size() > 0",
        "lists.range(20000).all(i, self.s in [self.s + 'a', self.s, self.s])",
        "lists.range(10000).sortBy(i, self.s).size() > 0",
        "lists.range(50000).all(i, int(self.s) == 1 || true)",
    ] {
        assert_eq!(cost(rule).0, Err(Failure::Budget), "{rule}");
    }
    // What is small costs what it did.
    for (rule, most) in [
        ("self.list.join(',') == 'a,b'", 10),
        ("'%s %.2f'.format(['a', 1.5]) == 'a 1.50'", 30),
        ("'abc'.replace('b', 'xx') == 'axxc'", 10),
        ("self.i in [1, 2, 5]", 16),
        ("self.numbers.sortBy(n, n) == [1, 2, 3]", 60),
    ] {
        let (answer, cost) = cost(rule);
        assert_eq!(answer, Ok(Outcome::Bool(true)), "{rule}");
        assert!(cost <= most, "{rule}: {cost}");
    }
}

#[test]
fn the_deepest_expressions_fit_the_stack() {
    let nested =
        |open: &str, middle: &str, close: &str, depth: usize| open.repeat(depth) + middle + &close.repeat(depth);
    let deep = [
        nested("(", "true", ")", 90),
        nested("!", "true", "", 90),
        nested("[", "1", "]", 90) + " == " + &nested("[", "1", "]", 90),
        vec!["1"; 90].join(" + ") + " > 0",
        nested("[1].all(x, ", "true", ")", 45),
        nested("true ? ", "true", " : false", 90),
        nested("true ? true : (", "true", ")", 45),
        nested("cel.bind(x, 1, ", "true", ")", 90),
        format!(
            "self.labels{} == self.labels",
            ".map(k, k).transformMap(i, k, k)".repeat(20)
        ),
    ];
    for rule in deep {
        let schema = schema();
        let scope = Scope {
            schema: &schema,
            root: true,
            optional_old: false,
        };
        if let Ok(program) = Program::compile(&rule, scope, Wanted::Bool) {
            let object = object();
            let input = Input {
                schema: &schema,
                root: true,
                this: &object,
                old: None,
            };
            program
                .run(input, CALL_COST_MAX)
                .0
                .unwrap_or_else(|error| panic!("{rule}: {error}"));
            program.max_cost(&schema);
        }
    }
}

#[test]
fn cost_is_the_same_every_time() {
    let schema = schema();
    let scope = Scope {
        schema: &schema,
        root: true,
        optional_old: false,
    };
    let program = Program::compile("self.list.all(x, x.size() < 10) && has(self.s)", scope, Wanted::Bool).unwrap();
    let object = object();
    let input = Input {
        schema: &schema,
        root: true,
        this: &object,
        old: None,
    };
    let (_, first) = program.run(input, CALL_COST_MAX);
    assert_eq!(program.run(input, CALL_COST_MAX).1, first);
    assert!(first > 0 && first < 50, "{first}");
}
