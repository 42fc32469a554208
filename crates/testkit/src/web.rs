//! Plain web servers that serve a folder: Debian's nginx, Apache and Caddy, and Python's own.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::Server;
use crate::scratch::Scratch;

/// What Apache loads to serve a folder by the rules that lie in it.
const APACHE_MODULES: [&str; 6] = [
    "mpm_event",
    "authz_core",
    "dir",
    "mime",
    "headers",
    "rewrite",
];

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
        Self::ready(&mut command, scratch, port, "start worker process")
    }

    /// Starts Apache for `folder`, whose `.htaccess` it follows.
    pub fn apache(folder: &Path) -> Result<Self> {
        let scratch = Scratch::new("apache")?;
        let port = free_port()?;
        let (at, folder) = (scratch.path().display(), folder.display());
        let modules: String = APACHE_MODULES
            .iter()
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .collect();
        // Apache does not serve as root; without root it stays who it is.
        let user = if rustix::process::getuid().is_root() {
            "User www-data\nGroup www-data\n"
        } else {
            ""
        };
        let config = format!(
            "{modules}{user}ServerName localhost\nListen 127.0.0.1:{port}\nPidFile {at}/pid\n\
             ErrorLog /dev/stderr\nLogLevel notice\nTypesConfig /etc/mime.types\nDocumentRoot {folder}\n\
             <Directory {folder}>\n  AllowOverride All\n  Require all granted\n</Directory>\n"
        );
        let file = scratch.join("apache.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new("/usr/sbin/apache2");
        command.args(["-D", "FOREGROUND", "-f"]).arg(&file);
        Self::ready(&mut command, scratch, port, "resuming normal operations")
    }

    /// Starts Caddy with these lines inside its site.
    pub fn caddy(lines: &str) -> Result<Self> {
        let scratch = Scratch::new("caddy")?;
        let port = free_port()?;
        let config = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\n\nhttp://127.0.0.1:{port} {{\n{lines}\n}}\n"
        );
        let file = scratch.join("Caddyfile");
        std::fs::write(&file, config)?;
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file)
            .env("HOME", scratch.path())
            .env("XDG_DATA_HOME", scratch.path());
        Self::ready(&mut command, scratch, port, "serving initial configuration")
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

    /// Starts a server and waits until it says that it is ready.
    fn ready(command: &mut Command, scratch: Scratch, port: u16, word: &str) -> Result<Self> {
        let mut server = Server::start(command, &scratch.join("log"))?;
        server.wait(|said| said.contains(word).then_some(()))?;
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
    fn peer_all_serve_a_folder() {
        let folder = Scratch::new("served").unwrap();
        std::fs::write(folder.join("f"), "content").unwrap();
        let at = folder.path().display();
        for server in [
            WebServer::nginx(&format!("root {at};")).unwrap(),
            WebServer::apache(folder.path()).unwrap(),
            WebServer::caddy(&format!("root * {at}\nfile_server")).unwrap(),
            WebServer::python(folder.path()).unwrap(),
        ] {
            let url = format!("http://{}/f", server.host());
            assert_eq!(curl::body(&[&url]).unwrap(), b"content");
        }
    }
}
