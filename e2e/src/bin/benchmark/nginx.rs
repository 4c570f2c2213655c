//! nginx as the nearest thing one has without us: a reverse proxy on loopback that adds a constant header.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::Duration,
};

use keylend_e2e::{Container, Stage};

use crate::process::Process;

/// Where it listens, in the pod's network.
pub const LISTENER: &str = "127.0.0.1:7181";

/// A running nginx; it ends when dropped.
pub struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    /// Starts it in the network of `container`'s pod, toward the stage's upstream.
    pub fn start(program: &Path, container: &Container, stage: &Stage, value: &str) -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("keylend-benchmark-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("ca.pem"), &stage.ca_bundle)?;
        let service = stage.upstream_namespace.json("service", "upstream");
        let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        fs::write(folder.join("nginx.conf"), configuration(&folder, address, &stage.host, value))?;
        let child = container
            .in_network(&program.display().to_string())
            .arg("-p")
            .arg(&folder)
            .args(["-e", "stderr", "-c", "nginx.conf"])
            .spawn()?;
        let mut nginx = Self { child, folder };
        nginx.wait()?;
        Ok(nginx)
    }

    /// The only process of it.
    pub fn process(&self) -> Process {
        Process::number(self.child.id())
    }

    /// Its listener is in another network, so it is only seen whether it lives after a while.
    fn wait(&mut self) -> io::Result<()> {
        thread::sleep(Duration::from_millis(500));
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("nginx ended: {status}"))),
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Verified TLS and kept connections, as our own side has; no log; one process, as ours is one thread.
fn configuration(folder: &Path, address: &str, host: &str, value: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; keepalive_requests 100000000;
            client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
            uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
            upstream origin {{ server {address}:443; keepalive 64; keepalive_requests 100000000; }}
            server {{
                listen {LISTENER};
                location / {{
                    proxy_pass https://origin; proxy_http_version 1.1;
                    proxy_set_header Connection \"\"; proxy_set_header Host {host};
                    proxy_set_header Authorization \"Bearer {value}\";
                    proxy_ssl_verify on; proxy_ssl_trusted_certificate {folder}/ca.pem;
                    proxy_ssl_name {host}; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;
                }}
            }}
        }}
        "
    )
}
