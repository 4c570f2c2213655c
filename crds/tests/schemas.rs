//! What the API server may hold of us is bounded in every field, and each kind is found and shown as documented.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

#[test]
fn every_field_is_bounded() {
    for definition in keylend_crds::definitions() {
        let mut unbounded = vec![];
        walk(schema(&definition).unwrap(), &definition.spec.names.kind, &mut unbounded);
        assert_eq!(unbounded, Vec::<String>::new());
    }
}

#[test]
fn a_field_without_a_bound_is_found() {
    let text = || JSONSchemaProps { type_: Some("string".to_owned()), ..Default::default() };
    let short = || JSONSchemaProps { max_length: Some(9), ..text() };
    let list = |items| JSONSchemaProps {
        type_: Some("array".to_owned()),
        items: Some(JSONSchemaPropsOrArray::Schema(Box::new(items))),
        ..Default::default()
    };
    let few = |items| JSONSchemaProps { max_items: Some(9), ..list(items) };
    let map = |values| JSONSchemaProps {
        type_: Some("object".to_owned()),
        additional_properties: Some(JSONSchemaPropsOrBool::Schema(Box::new(values))),
        ..Default::default()
    };
    let small = |values| JSONSchemaProps { max_properties: Some(9), ..map(values) };
    let number = || JSONSchemaProps { type_: Some("integer".to_owned()), ..Default::default() };
    let least = || JSONSchemaProps { minimum: Some(0.0), ..number() };
    let both = || JSONSchemaProps { maximum: Some(9.0), ..least() };
    let with = |name: &str, property| JSONSchemaProps {
        type_: Some("object".to_owned()),
        properties: Some([(name.to_owned(), property)].into()),
        ..Default::default()
    };
    let one_of = || JSONSchemaProps { enum_: Some(vec![JSON("Live".into())]), ..text() };
    let free = JSONSchemaProps { type_: Some("object".to_owned()), ..Default::default() };
    let table = vec![
        (short(), vec![]),
        (text(), vec!["it"]),
        (few(short()), vec![]),
        (few(text()), vec!["it[]"]),
        (list(short()), vec!["it"]),
        (small(few(short())), vec![]),
        (small(text()), vec!["it{}"]),
        (map(short()), vec!["it"]),
        (number(), vec!["it"]),
        (least(), vec!["it"]),
        (both(), vec![]),
        (with("observedGeneration", number()), vec![]),
        (with("version", number()), vec!["it.version"]),
        (with("reason", one_of()), vec![]),
        (with("reason", short()), vec!["it.reason"]),
        (with("type", short()), vec!["it.type"]),
        (with("message", short()), vec![]),
        (free, vec!["it"]),
        (JSONSchemaProps::default(), vec!["it"]),
    ];
    for (schema, expected) in table {
        let mut unbounded = vec![];
        walk(&schema, "it", &mut unbounded);
        assert_eq!(unbounded, expected);
    }
}

#[test]
fn each_kind_has_its_names_columns_and_selectable_fields() {
    let table = [
        (
            ("Secret", "keylendsecrets", "keylendsecret", "klsec"),
            "Type Ready Reason Environments Age",
            ".spec.type",
        ),
        (
            ("SecretShare", "secretshares", "secretshare", "klshare"),
            "Secret Environment Recipient Ready Reason Accepted Expires Domains Age",
            ".spec.secretRef.name .spec.recipient.namespace.name",
        ),
        (
            ("Route", "keylendroutes", "keylendroute", "klroute"),
            "Upstream Environment Ready Reason Age",
            ".spec.upstream .spec.environment",
        ),
    ];
    let definitions = keylend_crds::definitions();
    assert_eq!(definitions.len(), table.len());
    for (definition, ((kind, plural, singular, short), columns, selectable)) in definitions.iter().zip(table)
    {
        let names = &definition.spec.names;
        assert_eq!((names.kind.as_str(), names.plural.as_str()), (kind, plural));
        assert_eq!(names.singular.as_deref(), Some(singular));
        assert_eq!(names.short_names, Some(vec![short.to_owned()]));
        assert_eq!(names.categories, Some(vec!["keylend".to_owned()]));
        let version = &definition.spec.versions[0];
        let shown = version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str());
        assert_eq!(shown.collect::<Vec<_>>().join(" "), columns);
        let selected = version.selectable_fields.iter().flatten().map(|field| field.json_path.as_str());
        assert_eq!(selected.clone().collect::<Vec<_>>().join(" "), selectable);
        for path in selected {
            let field = path.split('.').skip(1).fold(schema(definition), property);
            assert_eq!(field.unwrap().type_.as_deref(), Some("string"), "{kind}{path}");
        }
    }
}

/// What stands in these is one of a closed list.
const CLOSED: [&str; 3] = ["type", "reason", "status"];
/// Numbers that are the API server's.
const OF_KUBERNETES: [&str; 1] = ["observedGeneration"];

/// Adds the path of each field below `schema` that may hold anything, or anything of its size.
fn walk(schema: &JSONSchemaProps, path: &str, unbounded: &mut Vec<String>) {
    let properties = schema.properties.iter().flatten();
    let bounded = match schema.type_.as_deref() {
        Some("string") => schema.max_length.is_some() || schema.enum_.is_some(),
        Some("array") => schema.max_items.is_some() && schema.items.is_some(),
        Some("object") if schema.additional_properties.is_some() => schema.max_properties.is_some(),
        Some("object") => properties.clone().next().is_some(),
        Some("integer") => schema.minimum.is_some() && schema.maximum.is_some(),
        Some("boolean") => true,
        _ => false,
    };
    if !bounded || schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        unbounded.push(path.to_owned());
    }
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        let is_text = property.type_.as_deref() == Some("string");
        if is_text && CLOSED.contains(&name.as_str()) && property.enum_.is_none() {
            unbounded.push(path);
        } else if !OF_KUBERNETES.contains(&name.as_str()) {
            walk(property, &path, unbounded);
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(items, &format!("{path}[]"), unbounded);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(values, &format!("{path}{{}}"), unbounded);
    }
}

fn schema(definition: &CustomResourceDefinition) -> Option<&JSONSchemaProps> {
    definition.spec.versions[0].schema.as_ref()?.open_api_v3_schema.as_ref()
}

fn property<'a>(schema: Option<&'a JSONSchemaProps>, name: &str) -> Option<&'a JSONSchemaProps> {
    schema?.properties.as_ref()?.get(name)
}
