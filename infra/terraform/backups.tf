# For the component `backup`: what it writes is encrypted already, and it removes by itself what it need not keep.
resource "aws_s3_bucket" "backups" {
  bucket_prefix = "souk-backups-"
}

resource "aws_s3_bucket_public_access_block" "backups" {
  bucket                  = aws_s3_bucket.backups.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "backups" {
  bucket = aws_s3_bucket.backups.id

  rule {
    id     = "incomplete"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

# Its keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: aws iam create-access-key --user-name souk-backup
resource "aws_iam_user" "backup" {
  name = "souk-backup"
}

resource "aws_iam_user_policy" "backup" {
  user = aws_iam_user.backup.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "s3:ListBucket", Resource = aws_s3_bucket.backups.arn },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = "${aws_s3_bucket.backups.arn}/*"
      },
    ]
  })
}

output "backups" {
  description = "The addresses TO and FROM of the component `backup`"
  value       = "s3://${aws_s3_bucket.backups.bucket}/souk"
}
