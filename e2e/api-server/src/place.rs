//! Where the API server keeps an object in etcd.

const GROUP: &str = "keylend.dev";
/// (plural, kind, within a namespace)
const KINDS: [(&str, &str, bool); 14] = [
    ("configmaps", "ConfigMap", true),
    ("events", "Event", true),
    ("keylendroutes", "Route", true),
    ("keylendsecrets", "Secret", true),
    ("namespaces", "Namespace", false),
    ("pods", "Pod", true),
    ("rolebindings", "RoleBinding", true),
    ("roles", "Role", true),
    ("secrets", "Secret", true),
    ("secretshares", "SecretShare", true),
    ("serviceaccounts", "ServiceAccount", true),
    ("statefulsets", "StatefulSet", true),
    ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", false),
    ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", false),
];

/// An object's place, and what it is.
pub(super) struct Place<'a> {
    pub(super) key: String,
    pub(super) api_version: String,
    pub(super) kind: &'static str,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
}

/// Keys of etcd: the first, and the first that is not meant.
pub(super) type Range = (String, String);

impl<'a> Place<'a> {
    /// Of the object that the API server has at `path`.
    pub(super) fn of(path: &'a str) -> Self {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (api_version, within) = match &segments[..] {
            ["api", version, within @ ..] => ((*version).to_owned(), within),
            ["apis", group, version, within @ ..] => (format!("{group}/{version}"), within),
            _ => panic!("{path}"),
        };
        let (namespace, plural, name) = match within {
            ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, *name),
            [plural, name] => (None, *plural, *name),
            _ => panic!("{path}"),
        };
        let (.., kind, _) = *KINDS.iter().find(|(known, ..)| *known == plural).expect(path);
        let group = if api_version.starts_with(GROUP) { format!("{GROUP}/") } else { String::new() };
        let below = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        Self { key: format!("/registry/{group}{plural}/{below}{name}"), api_version, kind, namespace, name }
    }

    /// Its own key only.
    pub(super) fn only(&self) -> Range {
        (self.key.clone(), format!("{}\0", self.key))
    }

    /// Of all that tests put into `namespaces` and beside them.
    pub(super) fn ranges(namespaces: &[&str]) -> Vec<Range> {
        let below = |prefix: String| (format!("/registry/{prefix}/"), format!("/registry/{prefix}0"));
        let mut ranges = vec![below(GROUP.to_owned())];
        for (plural, _, namespaced) in KINDS {
            match (plural, namespaced) {
                ("namespaces", _) => {}
                (_, false) => ranges.push(below(plural.to_owned())),
                (_, true) => ranges.extend(namespaces.iter().map(|name| below(format!("{plural}/{name}")))),
            }
        }
        ranges
    }
}
