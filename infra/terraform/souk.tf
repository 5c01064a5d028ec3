# What Souk needs beside (docs/operations.md, "On a cluster"), and Souk. Give each chart the version that you have tried:
# where none stands here, it is whatever is newest.
locals {
  platform = {
    cert-manager = {
      repository = "https://charts.jetstack.io"
      version    = "v1.21.2"
      values     = { crds = { enabled = true } }
    }
    keda = {
      repository = "https://kedacore.github.io/charts"
      version    = "2.20.2"
      values     = {}
    }
    mongodb-kubernetes = {
      repository = "https://mongodb.github.io/helm-charts"
      version    = "1.9.0"
      values     = { operator = { watchNamespace = "souk" } }
    }
    external-secrets = {
      repository = "https://charts.external-secrets.io"
      version    = null
      values     = {}
    }
    external-dns = {
      repository = "https://kubernetes-sigs.github.io/external-dns"
      version    = null
      values     = { provider = { name = "aws" }, sources = ["service"], domainFilters = [var.zone] }
    }
    traefik = {
      repository = "https://traefik.github.io/charts"
      version    = null
      values = {
        additionalArguments = ["--providers.kubernetesIngressNGINX=true"]
        service = {
          spec = { externalTrafficPolicy = "Local" }
          annotations = {
            "service.beta.kubernetes.io/aws-load-balancer-type" = "nlb"
            "external-dns.alpha.kubernetes.io/hostname"         = var.host
          }
        }
      }
    }
  }
}

resource "helm_release" "platform" {
  for_each = local.platform

  name             = each.key
  repository       = each.value.repository
  chart            = each.key
  version          = each.value.version
  namespace        = each.key
  create_namespace = true
  values           = [yamlencode(each.value.values)]

  depends_on = [module.cluster, aws_eks_pod_identity_association.account]
}

# Issuer, secret store, classes: they need what the charts above have brought.
resource "helm_release" "cluster" {
  name             = "souk-cluster"
  chart            = "${path.module}/cluster"
  namespace        = "souk"
  create_namespace = true
  set = [
    { name = "mail", value = var.mail },
    { name = "region", value = var.region },
    { name = "hostedZone", value = data.aws_route53_zone.people.zone_id },
  ]

  depends_on = [helm_release.platform]
}

resource "helm_release" "souk" {
  name       = "souk"
  repository = "oci://${var.registry}/charts"
  chart      = "souk"
  version    = "0.1.0"
  namespace  = helm_release.cluster.namespace
  timeout    = 1200
  wait       = false # its pods wait for their secrets
  set = [
    { name = "host", value = var.host },
    { name = "image.repository", value = "${var.registry}/souk" },
    { name = "issuer.name", value = "letsencrypt" },
    { name = "storage.class", value = "souk" },
  ]
}
