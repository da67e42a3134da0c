//! What a PoP says of itself at `/metrics`, in the text format of OpenMetrics.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use reqwest::Client;

use crate::limits::CONNECT_TIMEOUT;

/// Where a PoP's admin port is.
#[derive(Debug, Clone)]
pub struct Scrape {
    http: Client,
    url: String,
}

/// The numbers of one look, by name. Those with labels carry them in the name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page(BTreeMap<String, f64>);

impl Scrape {
    /// For the admin port at `url`, such as `http://127.0.0.1:6060`.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new(url: &str) -> Result<Self> {
        // Fails where a provider is installed already, which is then the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A connection for each look: none lies idle at the process that is watched.
        let http = Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Fails unless the PoP is ready for clients.
    ///
    /// # Errors
    /// It does not answer, or is not.
    pub async fn ready(&self) -> Result<()> {
        let ready = self.http.get(format!("{}/readyz", self.url)).send().await?;
        ready.error_for_status()?;
        Ok(())
    }

    /// What it counts now.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn page(&self) -> Result<Page> {
        let answer = self
            .http
            .get(format!("{}/metrics", self.url))
            .send()
            .await?;
        Ok(Page::parse(&answer.error_for_status()?.text().await?))
    }
}

impl Page {
    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            samples
                .filter_map(|line| {
                    // Label values may hold spaces; a time stamp is not written here.
                    let (name, value) = line.rsplit_once(' ')?;
                    Some((name.to_owned(), value.parse().ok()?))
                })
                .collect(),
        )
    }

    /// The number of that name.
    ///
    /// # Errors
    /// The program does not count such a thing.
    pub fn get(&self, name: &str) -> Result<f64> {
        let value = self.0.get(name).copied();
        value.with_context(|| format!("the program does not say {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let page = Page::parse(
            "# HELP titan_pop_clients Proxy clients accepted.\n# TYPE titan_pop_clients counter\n\
             titan_pop_clients_total 42\ntitan_pop_logins_total{outcome=\"accepted\"} 7\n# EOF\n",
        );
        assert_eq!(page.get("titan_pop_clients_total").unwrap(), 42.0);
        let accepted = page.get("titan_pop_logins_total{outcome=\"accepted\"}");
        assert_eq!(accepted.unwrap(), 7.0);
        assert!(page.get("titan_pop_clients").is_err());
    }
}
