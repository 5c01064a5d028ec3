# An example: Souk on EKS. A network and nodes over three zones, a bucket for backups, what the cluster needs beside, and
# the chart. It has not been applied by its authors: a test reads it, and has Helm make objects of its charts and values.
#
#   terraform init && terraform apply -var host=souk.example.com -var zone=example.com -var mail=ops@example.com \
#     -var registry=registry.example.com
#   kubectl label namespace souk pod-security.kubernetes.io/enforce=restricted
#   kubectl apply -f .secrets/external-secrets.yaml -f .secrets/session-keys.yaml
#
# The last two files are of `make secrets FOR=prod`, after which each .secrets/values/NAME.json goes into Secrets Manager:
#   aws secretsmanager create-secret --name souk/NAME --secret-string file://.secrets/values/NAME.json
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws  = { source = "hashicorp/aws", version = "~> 6.0" }
    helm = { source = "hashicorp/helm", version = "~> 3.0" }
  }
}

variable "host" {
  description = "Where people find Souk"
  type        = string
}

variable "zone" {
  description = "The zone of Route 53 that the host is in"
  type        = string
}

variable "mail" {
  description = "Where Let's Encrypt writes to"
  type        = string
}

variable "registry" {
  description = "Has the images souk/<service> and the chart charts/souk"
  type        = string
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

provider "aws" {
  region = var.region
}

provider "helm" {
  kubernetes = {
    host                   = module.cluster.cluster_endpoint
    cluster_ca_certificate = base64decode(module.cluster.cluster_certificate_authority_data)
    exec = {
      api_version = "client.authentication.k8s.io/v1beta1"
      command     = "aws"
      args        = ["eks", "get-token", "--region", var.region, "--cluster-name", module.cluster.cluster_name]
    }
  }
}

data "aws_route53_zone" "people" {
  name = var.zone
}
