//! Metrics in Prometheus's own text format (0.0.4), from `OpenMetrics` text: the registry writes the latter alone.

/// The two differ in what is said of a metric, not in its samples: here a counter is called as its samples are, there is no type that
/// Prometheus's own format does not know, no unit and no end mark.
pub(super) fn prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    let mut help = None;
    for line in open_metrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, about] => help = Some((*name, *about)),
            ["#", "TYPE", name, kind] => {
                let suffix = if *kind == "counter" { "_total" } else { "" };
                let kind = match *kind {
                    "unknown" => "untyped",
                    "info" | "stateset" => "gauge",
                    known => known,
                };
                if let Some((_, about)) = help.take().filter(|(helped, _)| helped == name) {
                    text.extend(["# HELP ", name, suffix, " ", about, "\n"]);
                }
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            ["#", ..] => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::prometheus_text;

    #[test]
    fn counters_are_called_as_their_samples_are() {
        let open = "# HELP a_mints Client secrets.\n# TYPE a_mints counter\na_mints_total{p=\"x y\"} 3\n\
                    # HELP a_s Time.\n# TYPE a_s histogram\n# UNIT a_s seconds\na_s_sum 0.5\na_s_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let text = "# HELP a_mints_total Client secrets.\n# TYPE a_mints_total counter\na_mints_total{p=\"x y\"} 3\n\
                    # HELP a_s Time.\n# TYPE a_s histogram\na_s_sum 0.5\na_s_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(prometheus_text(open), text);
    }
}
