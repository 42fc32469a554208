//! Plain web servers that serve a folder: Debian's nginx, and Python's own.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::Server;
use crate::scratch::Scratch;

/// A running web server, ended when dropped.
pub struct WebServer {
    _server: Server,
    _scratch: Scratch,
    port: u16,
}

impl WebServer {
    /// Starts nginx with these lines inside its `server` block.
    pub fn nginx(lines: &str) -> Result<Self> {
        let scratch = Scratch::new("nginx")?;
        let port = free_port()?;
        let at = scratch.path().display();
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("  {kind}_temp_path {at}/{kind};\n"))
            .collect();
        let user = if rustix::process::getuid().is_root() {
            "user root;\n"
        } else {
            ""
        };
        let config = format!(
            "{user}daemon off;\nworker_processes 1;\npid {at}/pid;\nerror_log stderr notice;\nevents {{}}\n\
             http {{\n  access_log {at}/access.log;\n{places}  server {{\n    listen 127.0.0.1:{port};\n{lines}\n  }}\n}}\n"
        );
        let file = scratch.join("nginx.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c"]).arg(&file);
        let mut server = Server::start(&mut command, &scratch.join("log"))?;
        server.wait(|said| said.contains("start worker process").then_some(()))?;
        Ok(Self {
            _server: server,
            _scratch: scratch,
            port,
        })
    }

    /// Starts `python3 -m http.server` for `folder`.
    pub fn python(folder: &Path) -> Result<Self> {
        let scratch = Scratch::new("python")?;
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]);
        command.arg("--directory").arg(folder);
        let mut server = Server::start(&mut command, &scratch.join("log"))?;
        let port = server.wait(|said| {
            let (_, rest) = said.split_once("127.0.0.1 port ")?;
            rest.split(' ').next()?.parse().ok()
        })?;
        Ok(Self {
            _server: server,
            _scratch: scratch,
            port,
        })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A port that was free a moment ago, for programs that cannot choose one.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curl;

    #[test]
    fn peer_both_serve_a_folder() {
        let folder = Scratch::new("served").unwrap();
        std::fs::write(folder.join("f"), "content").unwrap();
        let root = format!("root {};", folder.path().display());
        for server in [
            WebServer::nginx(&root).unwrap(),
            WebServer::python(folder.path()).unwrap(),
        ] {
            let url = format!("http://{}/f", server.host());
            assert_eq!(curl::body(&[&url]).unwrap(), b"content");
        }
    }
}
