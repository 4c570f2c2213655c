//! The two clients of the API server: one for everything, and one for decisions.

use std::time::Duration;

use kube::{Client, Config};

use crate::fault::Fault;

/// How long the deciding client waits for the next byte of an answer: a caller waits two seconds at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for a connection: TCP sends what was lost of a handshake again after a second (RFC 6298).
const CONNECT_PATIENCE: Duration = Duration::from_millis(1_400);

/// The client for everything that is no decision, and the one for decisions.
///
/// # Errors
/// [`Fault`] if there is no cluster to connect to.
pub async fn clients() -> Result<(Client, Client), Fault> {
    const DOING: &str = "connecting to the API server";
    let ordinary = Config::infer().await.map_err(|e| Fault::new(DOING, e))?;
    let deciding = deciding(&ordinary);
    let client = |config| Client::try_from(config).map_err(|e| Fault::new(DOING, e));
    Ok((client(ordinary)?, client(deciding)?))
}

/// As `ordinary`, but it tries nothing twice and gives up early, because a late answer is a refusal already.
fn deciding(ordinary: &Config) -> Config {
    let mut deciding = ordinary.clone();
    deciding.connect_timeout = Some(CONNECT_PATIENCE);
    deciding.read_timeout = Some(PATIENCE);
    // Patience begins with the question: else what a connection has rested would be taken from it.
    deciding.reset_reader_on_write = true;
    deciding.default_retry = false;
    deciding
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use k8s_openapi::api::core::v1::Namespace;
    use keylend_api_server::ApiServer;
    use kube::{
        Api,
        config::{KubeConfigOptions, Kubeconfig},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::{Instant, sleep, timeout},
    };

    use super::*;

    fn namespaces(ordinary: &Config) -> Api<Namespace> {
        Api::all(Client::try_from(deciding(ordinary)).unwrap())
    }

    async fn of_the_api_server(api: &ApiServer) -> Config {
        let mut kubeconfig = api.kubeconfig("");
        kubeconfig["users"][0]["user"].as_object_mut().unwrap().remove("as");
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_read_has_all_its_time_on_a_connection_that_has_rested() {
        let api = ApiServer::begin();
        let namespaces = namespaces(&of_the_api_server(&api).await);
        let read = async || {
            let asked = Instant::now();
            (namespaces.get_metadata_opt("partner").await, asked.elapsed())
        };
        for _ in 0..3 {
            // So many at once that some are answered only after the time that the connections have rested is over.
            for (read, took) in join_all((0..24).map(|_| read())).await {
                assert!(read.is_ok() || took >= PATIENCE, "{read:?} after {took:?}");
            }
            sleep(PATIENCE * 49 / 50).await;
        }
    }

    /// Scripted, since a real API server falls silent only when it is stopped.
    #[tokio::test]
    async fn a_read_that_is_not_answered_to_the_last_byte_fails_in_time() {
        let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
        for said in ["", begun] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let silent = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
                stream.write_all(said.as_bytes()).await.unwrap();
                assert_eq!(stream.read(&mut [0; 1024]).await.unwrap(), 0, "it gives up");
            });
            let namespaces = namespaces(&Config::new(format!("http://{address}").parse().unwrap()));
            let read = timeout(PATIENCE * 5, namespaces.get_metadata_opt("partner")).await;
            assert!(read.unwrap().is_err());
            silent.await.unwrap();
        }
    }
}
