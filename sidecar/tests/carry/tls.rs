//! Which TLS an upstream is spoken to in, and what of one connection's TLS the next may use again.

use keylend_contract::{
    refusal::Refusal,
    wire::{Anchors, Granted},
};
use rustls::{
    HandshakeKind::{self, Full, Resumed},
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::{
    origin::{Act, At, Origin},
    whole::{HOST, Whole},
};

/// After which the connection is not used again, so that the next call makes a new one.
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Every version that the sidecar speaks.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

async fn speaking(version: &'static SupportedProtocolVersion) -> (Origin, Whole) {
    let script = |_: &str| vec![Act::Send(LAST.to_vec())];
    let origin = Origin::speaking(&[version], HOST, At::Request, script).await;
    let whole = Whole::before(&origin).await;
    (origin, whole)
}

/// Makes one call on a connection of its own, and says how that began.
async fn call(whole: &Whole, origin: &Origin, line: &str) -> HandshakeKind {
    let before = origin.seen().len();
    assert_eq!(whole.app().await.call(line, "", "").await.status, 200);
    let seen = origin.seen();
    assert_eq!(seen.len(), before + 1);
    seen[before].spoken.unwrap().1
}

#[tokio::test]
async fn an_origin_that_speaks_only_one_of_the_two_versions_is_called() {
    for version in VERSIONS {
        let (origin, whole) = speaking(version).await;
        assert_eq!(call(&whole, &origin, "GET /r/").await, Full);
        assert_eq!(origin.seen()[0].spoken, Some((version.version, Full)));
        assert_eq!(origin.heads(), 1);
    }
}

#[tokio::test]
async fn a_session_is_resumed_under_the_same_shares_generation_route_and_anchors_only() {
    type Change = fn(&mut Granted);
    let changes: [(&str, Change); 3] = [
        ("another generation", |granted| granted.permits[0].generation += 1),
        ("another share", |granted| granted.permits[0].share = "other-uid".into()),
        ("other anchors", |granted| {
            let Anchors::Pem(text) = &mut granted.permits[0].anchors else { panic!("public anchors") };
            text.push('\n');
        }),
    ];
    for version in VERSIONS {
        let (origin, whole) = speaking(version).await;
        let begun = async |line| call(&whole, &origin, line).await;
        assert_eq!([begun("GET /r/").await, begun("GET /r/").await], [Full, Resumed]);
        assert_eq!([begun("GET /other/").await, begun("GET /other/").await], [Full, Resumed]);
        for (what, change) in changes {
            whole.change(|world| change(&mut world.granted));
            assert_eq!([begun("GET /r/").await, begun("GET /r/").await], [Full, Resumed], "{what}");
        }
    }
}

#[tokio::test]
async fn no_session_outlives_a_refusal_of_its_route() {
    for version in VERSIONS {
        let (origin, whole) = speaking(version).await;
        assert_eq!(call(&whole, &origin, "GET /r/").await, Full);
        assert_eq!(call(&whole, &origin, "GET /other/").await, Full);
        whole.change(|world| world.refusal = Some(Refusal::ShareRevoked { secret: "stripe".into() }));
        assert_eq!(whole.app().await.get().await.status, 403);
        whole.change(|world| world.refusal = None);
        assert_eq!(call(&whole, &origin, "GET /r/").await, Full);
        assert_eq!(call(&whole, &origin, "GET /other/").await, Resumed, "the other route was not refused");
    }
}
