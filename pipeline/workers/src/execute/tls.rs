//! The one try after a certificate error: the tool's own option that checks no certificate. Which option, and how the tool says that a certificate is not good, stand
//! in the catalogue (`[tools.NAME.tls_fallback]`). A tool without that has no fallback.

use std::collections::BTreeMap;

/// How a tool is told to check no certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallback {
    /// One of these among its errors means that a certificate was not good.
    pub says: Vec<String>,
    /// Put behind the program's name.
    pub options: Vec<String>,
    /// For tools that have no option for it.
    pub environment: BTreeMap<String, String>,
}

impl Fallback {
    /// Whether errors are about a certificate.
    pub fn is_meant(&self, stderr: &str) -> bool {
        self.says.iter().any(|text| stderr.contains(text.as_str()))
    }

    /// The command with its option, directly behind the program: there it is no value of another option, and stands before any `--`.
    pub fn apply(&self, argv: &[String]) -> Vec<String> {
        let (program, arguments) = argv.split_at(argv.len().min(1));
        [program, &self.options, arguments].concat()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_shipped_tool_that_speaks_tls_has_one() {
        let catalogue = crate::catalogue::shipped();
        let of = |tool: &str| catalogue.tools[tool].tls_fallback.clone();
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let kubectl = of("kubectl").unwrap();
        assert_eq!(
            kubectl.apply(&words("kubectl-1.29 create namespace a -- b")),
            words("kubectl-1.29 --insecure-skip-tls-verify=true create namespace a -- b")
        );
        assert!(kubectl.is_meant(
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority"
        ));
        assert!(!kubectl.is_meant("error: You must be logged in to the server (Unauthorized)"));
        let aws = of("aws").unwrap();
        assert_eq!(aws.apply(&words("aws sqs list-queues")), words("aws --no-verify-ssl sqs list-queues"));
        assert!(aws.is_meant("SSL validation failed for https://x [SSL: CERTIFICATE_VERIFY_FAILED]"));
        let az = of("az").unwrap();
        assert_eq!(az.apply(&words("az group list")), words("az group list"));
        assert_eq!(az.environment["AZURE_CLI_DISABLE_CONNECTION_VERIFICATION"], "1");
        assert!(of("tofu").is_none());
        // What is added here is what a plan may not have.
        for tool in catalogue.tools.values() {
            for option in tool.tls_fallback.iter().flat_map(|fallback| &fallback.options) {
                assert!(tool.refuses(option).is_some(), "{} {option}", tool.name);
            }
        }
    }
}
