// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The loads that demo and bench run.

use std::time::Duration;

use crate::report::Client;

/// No load takes longer than this.
const LIMIT: Duration = Duration::from_secs(150);

/// A server with the loads that it serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// Command line in the guest.
    pub(crate) server: &'static str,
    /// The port that it listens on when it is ready.
    pub(crate) port: u16,
    /// Client's command line for what only the first requests cost.
    pub(super) warm_up: &'static str,
    /// Its loads.
    pub(super) loads: &'static [Load],
}

/// A load: its name and the client's command line, in which [`DURATION`] stands for seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(super) name: &'static str,
    pub(super) client: &'static str,
}

/// How long a client goes on that does so for a time.
const DURATION: &str = "{seconds}";

/// Seconds that such a client goes on at first.
pub(super) const SECONDS: u32 = 6;

/// Redis with a connection for each request.
const SHORT: Load = Load {
    name: "redis-short",
    client: "redis-benchmark -h 10.99.0.2 -k 0 -c 32 -t get -n 6000 --csv",
};

/// Redis with a connection for each request, and with connections that stay.
pub(crate) const REDIS: Service = Service {
    server: "redis-server --bind 0.0.0.0 :: --save '' --protected-mode no --daemonize no",
    port: 6379,
    warm_up: "redis-benchmark -h 10.99.0.2 -k 0 -c 32 -t get -n 300 --csv",
    loads: &[
        SHORT,
        Load {
            name: "redis-persistent",
            client: "redis-benchmark -h 10.99.0.2 -k 1 -c 32 -t get -n 20000 --csv",
        },
    ],
};

/// Redis with a connection for each request only.
pub(crate) const REDIS_SHORT: Service = Service {
    loads: &[SHORT],
    ..REDIS
};

/// A web server that closes each connection after a reply of 64 bytes.
pub(crate) const NGINX: Service = Service {
    server: r#"cat >/tmp/nginx.conf <<'END' && exec nginx -e stderr -c /tmp/nginx.conf
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
    access_log off;
    server {
        listen 8080 backlog=1024;
        location / {
            return 200 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde
";
        }
    }
}
END"#,
    port: 8080,
    warm_up: "wrk -t 1 -c 32 -d 1 -H 'Connection: close' http://10.99.0.2:8080/",
    loads: &[Load {
        name: "nginx-close",
        client:
            "wrk -t 1 -c 32 -d {seconds} --timeout 60 -H 'Connection: close' http://10.99.0.2:8080/",
    }],
};

/// The services whose loads can be named.
static SERVICES: [Service; 2] = [REDIS, NGINX];

/// All loads with their services.
pub(super) fn all() -> impl Iterator<Item = (&'static Service, &'static Load)> {
    SERVICES
        .iter()
        .flat_map(|service| service.loads.iter().map(move |load| (service, load)))
}

/// Names of offloads as sessions take them.
pub(super) fn owned(offload: &[&str]) -> Vec<String> {
    offload.iter().map(|name| (*name).into()).collect()
}

impl Service {
    /// A load of this service as the meter takes it; it goes on for so many seconds, or until its requests are served.
    pub(super) fn client(&self, load: &Load, offload: &[&str], seconds: u32) -> Client {
        Client {
            workload: load.name.into(),
            server: self.server.into(),
            client: load.client.replace(DURATION, &seconds.to_string()),
            warm_up: Some(self.warm_up.into()),
            offload: owned(offload),
            transactions: None,
            timeout: LIMIT,
        }
    }
}
