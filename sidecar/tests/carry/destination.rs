//! Where a credential may go: permitted again, address by address, proved by TLS.

use std::net::IpAddr;

use keylend_contract::{
    address::Networks,
    domain_lock::DomainLock,
    upstream::Ports,
    wire::{Anchors, Granted},
};
use rcgen::{CertificateParams, KeyPair};

use crate::{
    origin::{At, Origin},
    whole::{HOST, Whole, granted, ok},
};

#[tokio::test]
async fn what_one_permit_does_not_approve_is_not_dialled() {
    type Change = fn(&mut Granted);
    let table: [(Change, &str); 6] = [
        (
            |granted| granted.permits[0].networks = Networks::parse::<&str>(&[]).unwrap(),
            "address_not_approved",
        ),
        (
            |granted| granted.permits[0].lock = DomainLock::parse(&["www.example.com"]).unwrap(),
            "host_not_approved",
        ),
        (
            |granted| granted.permits[0].lock = DomainLock::parse(&["*.api.example.com"]).unwrap(),
            "host_not_approved",
        ),
        (|granted| granted.permits[0].ports = Ports::try_from(vec![443]).unwrap(), "port_not_approved"),
        (
            |granted| {
                let mut second = granted.permits[0].clone();
                second.share = "second".into();
                second.networks = Networks::parse(&["10.0.0.0/8"]).unwrap();
                granted.permits.push(second);
            },
            "address_not_approved",
        ),
        (
            |granted| {
                let mut second = granted.permits[0].clone();
                second.share = "second".into();
                second.anchors = Anchors::Public;
                granted.permits.push(second);
            },
            "upstream_untrusted",
        ),
    ];
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    for (change, code) in table {
        let mut granted = granted(origin.address, &origin.anchors);
        change(&mut granted);
        whole.change(|world| world.granted = granted);
        assert_eq!(app.get().await.refusal(), Some(code));
    }
    assert_eq!(origin.seen().len(), 0);
    whole.change(|world| world.granted = granted(origin.address, &origin.anchors));
    assert_eq!(app.get().await.status, 200);
}

#[tokio::test]
async fn one_bad_address_refuses_all_and_a_dead_one_is_passed_over() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for (answers, code) in [
        (vec!["127.0.0.1", "10.0.0.1"], Some("address_not_approved")),
        (vec!["127.0.0.1", "::1"], Some("address_not_approved")),
        (vec!["169.254.169.254"], Some("address_not_approved")),
        (vec![], Some("address_not_approved")),
        (vec!["127.0.0.2", "127.0.0.1"], None),
    ] {
        let resolved = answers.iter().map(|text| address(text)).collect();
        whole.change(|world| _ = world.names.insert(HOST.to_owned(), resolved));
        assert_eq!(app.get().await.refusal(), code, "{answers:?}");
    }
    assert_eq!(origin.seen().len(), 1);
    whole.change(|world| {
        world.granted.permits[0].generation += 1;
        world.names.clear();
    });
    assert_eq!(app.get().await.refusal(), Some("upstream_unreachable"));
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_its_name_gets_no_byte_of_a_request() {
    let other = CertificateParams::new([HOST.to_owned()]).unwrap();
    let other = other.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    for (name, anchors) in [
        (HOST, Some(Anchors::Public)),
        (HOST, Some(Anchors::Pem(other))),
        ("www.example.com", None),
        ("*.api.example.com", None),
        ("example.com", None),
    ] {
        let origin = Origin::start(name, At::Request, |_| ok("")).await;
        let mut granted = granted(origin.address, &origin.anchors);
        granted.permits[0].anchors = anchors.unwrap_or(granted.permits[0].anchors.clone());
        let whole = Whole::start(granted).await;
        let reply = whole.app().await.get().await;
        assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_untrusted")), "{name}");
        assert_eq!(origin.seen()[0].received, b"");
    }
    let origin = Origin::start("*.example.com", At::Request, |_| ok("")).await;
    assert_eq!(Whole::before(&origin).await.app().await.get().await.status, 200);
}
