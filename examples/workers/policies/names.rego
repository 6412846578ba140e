# Names of buckets are taken world-wide: the house's own begin with its name.
package house.names

import rego.v1

deny contains message if {
	some resource in input.plan.target.resources
	resource.type == "aws_s3_bucket"
	not startswith(resource.name, "acme-")
	message := sprintf("bucket %s: found no name of the house, expected acme-…", [resource.name])
}
