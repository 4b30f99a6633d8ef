/* Written by generate/coefficients.py; do not edit.  Constant term first. */
#pragma once

/* (e^r - 1 - r) / r^2 on |r| <= ln(2)/2: relative error 1.3e-7 */
#define EXP32_0 0.5f
#define EXP32_1 0.1666657702559799f
#define EXP32_2 0.041666554662050534f
#define EXP32_3 0.008363173074513711f
#define EXP32_4 0.001392617611993558f

/* (log(1 + f) - f + f^2/2) / f^3 on sqrt(1/2) <= 1 + f <= sqrt(2): relative error 6.9e-8 */
#define LOG32_0 0.33333331180030046f
#define LOG32_1 -0.24999996957950882f
#define LOG32_2 0.200007157488921f
#define LOG32_3 -0.16667802319501254f
#define LOG32_4 0.1424905764569748f
#define LOG32_5 -0.12425687331451106f
#define LOG32_6 0.1168541992348674f
#define LOG32_7 -0.11479733846637635f
#define LOG32_8 0.06971611471451178f

/* log(1 + e) / e on 0 <= e <= 1: relative error 5.3e-9 */
#define LOG1P32_0 0.999999994656292f
#define LOG1P32_1 -0.49999892648063277f
#define LOG1P32_2 0.3332971049891775f
#define LOG1P32_3 -0.24951616262872076f
#define LOG1P32_4 0.19663274257204805f
#define LOG1P32_5 -0.15269667074363288f
#define LOG1P32_6 0.10543623795419527f
#define LOG1P32_7 -0.05637361283010733f
#define LOG1P32_8 0.019542527261014103f
#define LOG1P32_9 -0.00317605701843196f

/* sin(2 pi r)/r in z = r^2, |r| <= 1/8: relative error 3.4e-9 */
#define SIN2PI32_0 6.283185287812946f
#define SIN2PI32_1 -41.34166257054795f
#define SIN2PI32_2 81.59254287130155f
#define SIN2PI32_3 -75.40161270274746f

/* cos(2 pi r) in z = r^2, |r| <= 1/8: relative error 6.4e-11 */
#define COS2PI32_0 0.9999999999524894f
#define COS2PI32_1 -19.739208650130596f
#define COS2PI32_2 64.93931613570905f
#define COS2PI32_3 -85.44284467308167f
#define COS2PI32_4 59.2201689582961f
